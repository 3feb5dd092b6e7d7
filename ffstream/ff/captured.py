"""Sweeps of few rows on a GPU, recorded as CUDA graphs and replayed.

On few rows, a GPU finishes a kernel before its host has launched the next one. A graph launches all kernels of a sweep
at once. It repeats what was recorded, so everything that Python decides during a sweep is part of a graph's kind: the
number of rows, the lesson's phase, the step sizes.
"""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ffstream.ff.lesson import Lesson
from ffstream.ff.network import Network
from ffstream.ff.rounding import Stochastic
from ffstream.ff.scores import Scores

log = logging.getLogger(__name__)

# Number of rows beyond which kernels take longer than their launches, and maximum number of graphs.
FEW, GRAPHS = 128, 128


class Captured:
    """A network whose sweeps over few rows are replayed from the second of a kind on.

    Parameters
    ----------
    network
        The network. On a CPU, or if a sweep needs the host while it runs, nothing is captured.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._seen: set[object] = set()
        self._graphs: dict[object, _Graph] = {}
        # Shared by all graphs: they are replayed one at a time, and the result of one is copied before the next.
        self._pool: Any = None
        self._captures = network.device.type == "cuda" and _stays_on_the_device(network)
        if network.device.type == "cuda" and not self._captures:
            log.warning(
                "sweeps are not captured as CUDA graphs: a read-out, dreams, a counter or stochastic rounding "
                "needs the host"
            )

    def sweep(self, rows: Tensor, lesson: Lesson | None = None, generator: torch.Generator | None = None) -> Scores:
        """Run ``Network.sweep``, through a graph if there is one."""
        if not self._captures or len(rows) > FEW:
            return self.network.sweep(rows, lesson, generator)
        kind = self._kind(rows, lesson, generator)
        graph = self._graphs.get(kind)
        if graph is None:
            # The first of a kind runs uncaptured, which loads kernels and creates the handles of libraries.
            if kind not in self._seen or len(self._graphs) >= GRAPHS:
                self._seen.add(kind)
                return self.network.sweep(rows, lesson, generator)
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            graph = self._graphs[kind] = _Graph(self.network, rows, lesson, generator, self._pool)
        return graph.replay(rows, lesson)

    def _kind(self, rows: Tensor, lesson: Lesson | None, generator: torch.Generator | None) -> object:
        network = self.network
        if lesson is None:
            return len(rows), network.read
        rates = tuple(rule.rate for layer in network.layers for rule in layer.rules)
        facts = len(lesson.labels), lesson.phase, lesson.scored, lesson.sham, lesson.dreamed
        return len(rows), network.flow, id(generator), facts, rates


class _Graph:
    """One recorded kind of sweep; recording it computes nothing and changes nothing."""

    def __init__(
        self, network: Network, rows: Tensor, lesson: Lesson | None, generator: torch.Generator | None, pool: Any
    ) -> None:
        self._rows = rows.clone()
        self._labels = None if lesson is None else lesson.labels.clone()
        if lesson is not None and self._labels is not None:
            lesson = replace(lesson, labels=self._labels)
        self._graph = torch.cuda.CUDAGraph()
        if generator is not None:
            # Each replay draws from the generator's state at that time.
            self._graph.register_generator_state(generator)
        # Other threads of the process may use the device during capture.
        with torch.cuda.graph(self._graph, pool, capture_error_mode="thread_local"):
            self._scores = network.sweep(self._rows, lesson, generator)

    def replay(self, rows: Tensor, lesson: Lesson | None) -> Scores:
        """Repeat the sweep on other rows and labels."""
        self._rows.copy_(rows)
        if lesson is not None and self._labels is not None:
            self._labels.copy_(lesson.labels)
        self._graph.replay()
        # The next replay overwrites these scores.
        found = [getattr(self._scores, field.name) for field in fields(Scores)]
        copies = [torch.empty_like(tensor) for tensor in found]
        torch._foreach_copy_(copies, found)
        return Scores(*copies)


def _stays_on_the_device(network: Network) -> bool:
    """True if the host decides nothing from the device's results in a sweep, and nothing changes with every step."""
    return (
        network.readout is None
        and network.dreams is None
        and network.counter is None
        and not any(isinstance(rule.weight, Stochastic) for layer in network.layers for rule in layer.rules)
    )
