"""Recipes for separate phases of wake and sleep, and learners that follow them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffstream.config import Config
from ffstream.ff.counter import Counter
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network
from ffstream.ff.optim import make_rule
from ffstream.measuring.lives import ForwardLife, Predictor, rows_of
from ffstream.stream.learner import NO_LABELS
from ffstream.stream.schedules import Override

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Paced(Counter):
    """Counter that takes smaller steps in long phases, but remembers nothing."""

    def __init__(self, network: Network) -> None:
        del network
        super().__init__([])


class Unpaced(Counter):
    """Counter that remembers the other phase's move, but keeps the step size."""

    def __init__(self, network: Network) -> None:
        super().__init__([layer.rule.weight for layer in network.layers])

    @property
    def share(self) -> float:
        return 1.0


@dataclass(frozen=True)
class Arm:
    """A recipe.

    Attributes
    ----------
    what
        Description in words.
    network, optimizer
        Keys of these sections of the TOML that differ from the defaults.
    batch
        Samples per step.
    counter
        Makes the counter that replaces the network's own.
    published
        True if each batch is learned in 50 steps, with an optimizer state for each phase.
    """

    what: str
    network: Mapping[str, Any] = field(default_factory=dict)
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 64
    counter: Callable[[Network], Counter] | None = None
    published: bool = False


_REMEMBERED = {"counter": True, "rounding": "master"}
ARMS = {
    "together": Arm("both signs in each step: what separated phases are measured by"),
    "remembered": Arm(
        "the other phase's mean move is remembered, and steps are smaller in long phases", {}, _REMEMBERED
    ),
    "relative": Arm(
        "goodness is held against that of the other labels, not against a threshold", {"against": "labels"}
    ),
    "plain": Arm("the daemon's defaults"),
    "slow": Arm(
        "low rate and high momentum (arXiv 2212.13345, section 8)",
        {},
        {"rule": "momentum", "rate": 3e-5, "betas": (0.999, 0.999), "rounding": "master"},
    ),
    "published": Arm(
        "label over the first pixels, 50 steps a batch, an Adam state for each phase (arXiv 2310.18647)",
        {
            "hidden": (500, 500, 500),
            "coding": "overlay",
            "negatives": "uniform",
            "centring": False,
            "temperature": 1.0,
            "threshold": 1.5,
        },
        {"rule": "adam", "rate": 1e-3, "betas": (0.9, 0.999), "rounding": "master"},
        batch=512,
        published=True,
    ),
    "remembered-unpaced": Arm("remembered, but steps as large as ever", {}, _REMEMBERED, counter=Unpaced),
    "remembered-forgotten": Arm("smaller steps in long phases, nothing remembered", {}, _REMEMBERED, counter=Paced),
    "remembered-uncentred": Arm("remembered, inputs not centred", {"centring": False}, _REMEMBERED),
    "remembered-held": Arm("remembered, each unit's weight norm held", {"homeostasis": True}, _REMEMBERED),
}
NEGATIVES: Mapping[str, Mapping[str, Any]] = {
    "relabel": {},
    "masks": {"network": {"negatives": "masks"}},
    "dream": {"dreams": {"source": "dream"}, "engine": {"memory_samples": 0}},
}


class Sleeper(Predictor, Protocol):
    """A learner that goes through the phases."""

    def wake(self, batch: Batch) -> None:
        """Learn a batch of real data."""

    def sleep(self) -> None:
        """Learn one batch of negatives."""


class Daily(ForwardLife):
    """The daemon's learner, put to sleep and woken by commands."""

    def __init__(self, config: Config, arm: Arm) -> None:
        super().__init__(config)
        if arm.counter is not None:
            self.learner.network.counter = arm.counter(self.learner.network)

    def wake(self, batch: Batch) -> None:
        self._turn(Override.AUTO if self.learner.config.phases.schedule == "together" else Override.WAKE)
        self.learner.step([batch[0]], batch[1], [])

    def sleep(self) -> None:
        if self.learner.config.phases.schedule != "together":
            self._turn(Override.SLEEP)
            self.learner.step([], NO_LABELS, [])

    def _turn(self, override: Override) -> None:
        self.learner.scheduler.override = override
        self.learner.advance(quiet=False)


class Published:
    """A learner with 50 steps per batch and an optimizer state for each phase; sleep repeats the batches of the day."""

    STEPS = 50

    def __init__(self, config: Config) -> None:
        device = torch.device(config.engine.device)
        self.network = Network(config.network, config.optimizer, device)
        if config.engine.compile:
            self.network.fuse(config.engine.max_batch, {Phase.WAKE, Phase.SLEEP})
        self._rules = {
            phase: [make_rule(config.optimizer, layer.rule.weight, layer.rule.rate) for layer in self.network.layers]
            for phase in (Phase.WAKE, Phase.SLEEP)
        }
        self._seen: deque[tuple[Tensor, Tensor]] = deque()
        self._draws = torch.Generator(device).manual_seed(config.network.seed)

    def wake(self, batch: Batch) -> None:
        device = self.network.device
        self._seen.append((rows_of(batch[0], device), torch.from_numpy(batch[1]).to(device)))
        self._learn(self._seen[-1], Phase.WAKE)

    def sleep(self) -> None:
        self._learn(self._seen.popleft(), Phase.SLEEP)

    def predict(self, inputs: NDArray[np.uint8]) -> NDArray[np.int64]:
        predicted: NDArray[np.int64] = self.network.sweep(rows_of(inputs, self.network.device)).labels().cpu().numpy()
        return predicted

    def _learn(self, batch: tuple[Tensor, Tensor], phase: Phase) -> None:
        for layer, rule in zip(self.network.layers, self._rules[phase], strict=True):
            layer.rule = rule
        for _ in range(self.STEPS):
            self.network.sweep(batch[0], Lesson(batch[1], phase, scored=False), self._draws)
