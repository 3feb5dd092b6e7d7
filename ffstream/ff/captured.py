"""Sweeps of few rows on a GPU, recorded as CUDA graphs and replayed.

A GPU is done with a kernel on a few rows before its host has launched the next one. A graph launches all kernels of a
sweep at once. It repeats what was recorded, so what Python decides while a sweep runs is part of a graph's kind:
the number of rows, the lesson's phase, the step sizes.
"""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from ffstream.ff.lesson import Lesson
from ffstream.ff.network import Network
from ffstream.ff.scores import Scores

log = logging.getLogger(__name__)

# Rows beyond which the kernels take longer than their launches, and graphs kept at most.
FEW, GRAPHS = 128, 128


class Captured:
    """A network whose sweeps over few rows are replayed from the third of a kind on.

    Parameters
    ----------
    network
        The network. On a CPU, or where a sweep needs the host while it runs, every sweep runs as without.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._seen: set[object] = set()
        self._graphs: dict[object, _Graph] = {}
        # One for all graphs: they are replayed one at a time, and what one found is copied before the next.
        self._pool: Any = None
        self._captures = network.device.type == "cuda" and _stays_on_the_device(network)
        if network.device.type == "cuda" and not self._captures:
            log.warning("sweeps are not captured: a read-out, dreams, a counter or stochastic rounding needs the host")

    def sweep(self, rows: Tensor, lesson: Lesson | None = None, generator: torch.Generator | None = None) -> Scores:
        """Make a ``Network.sweep``, by a graph where there is one."""
        if not self._captures or len(rows) > FEW:
            return self.network.sweep(rows, lesson, generator)
        kind = self._kind(rows, lesson, generator)
        graph = self._graphs.get(kind)
        if graph is None:
            # The first of a kind runs as it is, which loads kernels and makes the handles of libraries.
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
        rates = tuple(rule.rate for layer in network.layers for rule in (layer.rule, layer.label_rule) if rule)
        facts = len(lesson.labels), lesson.phase, lesson.scored, lesson.sham, lesson.dreamed
        return len(rows), network.flow, id(generator), facts, rates


class _Graph:
    """One kind of sweep, recorded; recording it computes nothing and changes nothing."""

    def __init__(
        self, network: Network, rows: Tensor, lesson: Lesson | None, generator: torch.Generator | None, pool: Any
    ) -> None:
        self._rows = rows.clone()
        self._labels = None if lesson is None else lesson.labels.clone()
        if lesson is not None and self._labels is not None:
            lesson = replace(lesson, labels=self._labels)
        self._graph = torch.cuda.CUDAGraph()
        if generator is not None:
            # A replay draws from where the generator stands then.
            self._graph.register_generator_state(generator)
        # Other threads of the process may use the device meanwhile.
        with torch.cuda.graph(self._graph, pool, capture_error_mode="thread_local"):
            self._scores = network.sweep(self._rows, lesson, generator)

    def replay(self, rows: Tensor, lesson: Lesson | None) -> Scores:
        """Repeat the sweep on other rows and labels."""
        self._rows.copy_(rows)
        if lesson is not None and self._labels is not None:
            self._labels.copy_(lesson.labels)
        self._graph.replay()
        # The next replay writes over what this one found.
        found = [getattr(self._scores, field.name) for field in fields(Scores)]
        copies = [torch.empty_like(tensor) for tensor in found]
        torch._foreach_copy_(copies, found)
        return Scores(*copies)


def _stays_on_the_device(network: Network) -> bool:
    """Whether nothing in a sweep is decided by the host from what the device found, or changes with every step."""
    return (
        network.readout is None
        and network.dreams is None
        and network.counter is None
        and network.optimizer.rounding != "stochastic"
    )
