"""Wake and sleep kept apart for longer and longer phases: K steps of real data, then K of negatives, and again.

The paper (arXiv 2212.13345, section 8) calls it perhaps the most important open question whether the two phases can be
separated; "Sleep Deprivation in the Forward-Forward Algorithm" (arXiv 2310.18647) found that they can not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffstream.config import Config, parse
from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError
from ffstream.experiments.reproduction import mean_and_deviation
from ffstream.ff.counter import Counter
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network
from ffstream.ff.optim import make_rule
from ffstream.measuring.lives import ForwardLife, accuracy, rows_of
from ffstream.stream.phases import Override

STEPS = (1, 4, 16, 64, 128, 1000)
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Paced(Counter):
    """Smaller steps in long phases, and nothing remembered."""

    def __init__(self, network: Network) -> None:
        del network
        super().__init__([])


class Unpaced(Counter):
    """The other phase's move remembered, steps as large as ever."""

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
        In words.
    network, optimizer
        What its sections of the TOML say, beside the defaults.
    batch
        Samples a step.
    counter
        Takes the place of the network's own counter.
    published
        Whether each batch is learned in 50 steps, with an optimizer state for each phase.
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
    "remembered": Arm("the other phase's mean move is remembered, and steps are smaller in long phases", {}, _REMEMBERED),
    "relative": Arm("goodness is held against that of the other labels, not against a threshold", {"against": "labels"}),
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


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes
    ----------
    data
        Images.
    arms, negatives, steps
        Names of recipes and of negatives, and lengths of a phase in steps; each is met with each.
    seeds, passes
        Lives of each, and passes over the training images that each is awake for.
    device, compiled
        Where, and whether sweeps are compiled.
    """

    data: Dataset
    arms: Sequence[str]
    negatives: Sequence[str]
    steps: Sequence[int]
    seeds: int
    passes: int
    device: str
    compiled: bool

    @property
    def cells(self) -> list[tuple[str, str, int, int]]:
        """Every arm, negatives, steps and seed; learning both signs at once knows no phases, and has one length."""
        return [
            (arm, negatives, steps, seed)
            for arm, negatives, steps in itertools.product(self.arms, self.negatives, self.steps)
            if arm != "together" or steps == self.steps[0]
            for seed in range(self.seeds)
        ]


@dataclass(frozen=True)
class Row:
    """What one life came to: test accuracy at the end of the last wake, and of the last sleep."""

    arm: str
    negatives: str
    steps_per_phase: int
    seed: int
    passes: int
    wake_end_accuracy: float
    sleep_end_accuracy: float


class Sleeper(Protocol):
    """What lives through the phases."""

    def wake(self, batch: Batch) -> None:
        """Learn a batch of real data."""

    def sleep(self) -> None:
        """Learn one batch of negatives."""

    def predict(self, inputs: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Predict images that are not learned."""


class Daily(ForwardLife):
    """The daemon's learner, told when to sleep."""

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
            self.learner.step([], np.empty(0, np.int64), [])

    def _turn(self, override: Override) -> None:
        self.learner.scheduler.override = override
        self.learner.advance(quiet=False)


class Published:
    """Each batch is learned in 50 steps, with an optimizer state for each phase; sleep sees the inputs of that day."""

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
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._phase = Phase.SLEEP
        self._draws = torch.Generator(device).manual_seed(config.network.seed)

    def wake(self, batch: Batch) -> None:
        if self._phase is Phase.SLEEP:
            self._seen = []
        device = self.network.device
        self._seen.append((rows_of(batch[0], device), torch.from_numpy(batch[1]).to(device)))
        self._learn(self._seen[-1], Phase.WAKE)

    def sleep(self) -> None:
        if self._phase is Phase.WAKE:
            self._seen.reverse()
        self._learn(self._seen.pop(), Phase.SLEEP)

    def predict(self, inputs: NDArray[np.uint8]) -> NDArray[np.int64]:
        predicted: NDArray[np.int64] = self.network.sweep(rows_of(inputs, self.network.device)).labels().cpu().numpy()
        return predicted

    def _learn(self, batch: tuple[Tensor, Tensor], phase: Phase) -> None:
        self._phase = phase
        for layer, rule in zip(self.network.layers, self._rules[phase], strict=True):
            layer.rule = rule
        for _ in range(self.STEPS):
            self.network.sweep(batch[0], Lesson(batch[1], phase, scored=False), self._draws)


def measure(plan: Plan, lived: Callable[[str], object]) -> Iterator[Row]:
    """Let every recipe live through its phases; ``lived`` is told of each life before it begins.

    Raises
    ------
    ConfigError
        If there is no such arm or negatives, or a recipe does not fit the images.
    """
    for name, known in (("arms", ARMS), ("negatives", NEGATIVES)):
        if alien := set(getattr(plan, name)) - set(known):
            raise ConfigError(f"--{name}: {sorted(alien)} unknown; known are {', '.join(known)}")
    for arm, negatives, steps, seed in plan.cells:
        lived(f"{arm}, {negatives}, {steps} steps, seed {seed}")
        yield live(plan, arm, negatives, steps, seed)


def live(plan: Plan, name: str, negatives: str, steps: int, seed: int) -> Row:
    """Let one recipe live through wakes and sleeps of so many steps."""
    arm = ARMS[name]
    config = configure(plan, name, negatives, steps, seed)
    sleeper: Sleeper = Published(config) if arm.published else Daily(config, arm)
    batches = _batches(plan, arm.batch, seed)
    left = plan.passes * -(-len(plan.data.train[1]) // arm.batch)
    awake = asleep = math.nan
    while left:
        today = min(steps, left)
        left -= today
        for batch in itertools.islice(batches, today):
            sleeper.wake(batch)
        if not left:
            awake = accuracy(sleeper, *plan.data.test)
        for _ in range(today):
            sleeper.sleep()
        if not left:
            asleep = accuracy(sleeper, *plan.data.test)
    return Row(name, negatives, steps, seed, plan.passes, awake, asleep)


def configure(plan: Plan, name: str, negatives: str, steps: int, seed: int) -> Config:
    """Return the configuration of one life.

    Raises
    ------
    ConfigError
        If the recipe does not fit the images or the negatives.
    """
    arm, other = ARMS[name], NEGATIVES[negatives]
    shape = {"shape": plan.data.shape, "labels": plan.data.labels, "seed": seed}
    engine = {"device": plan.device, "max_batch": arm.batch, "compile": plan.compiled}
    schedule = "together" if name == "together" else "alternating"
    return parse(
        {
            **other,
            "network": {**shape, **arm.network, **other.get("network", {})},
            "optimizer": dict(arm.optimizer),
            "phases": {"schedule": schedule, "wake_steps": steps, "sleep_steps": steps},
            "engine": {**engine, **other.get("engine", {})},
        },
        f"{name}, {negatives}",
    )


def _batches(plan: Plan, size: int, seed: int) -> Iterator[Batch]:
    """Go through the training images, pass after pass, each in an order of its own."""
    inputs, labels = plan.data.train
    for number in range(plan.passes):
        order = np.random.default_rng((seed, number)).permutation(len(labels))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield inputs[chosen], labels[chosen]


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return means over seeds in percent, at the end of wake and of sleep, a row a recipe and negatives."""
    columns = sorted({row["steps_per_phase"] for row in rows})
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for (arm, negatives, steps), group in _grouped(rows).items():
        line = lines.setdefault(
            (arm, negatives), {"arm": arm, "negatives": negatives, **{f"K = {steps}": "–" for steps in columns}}
        )
        ends = (_percent([row[f"{end}_end_accuracy"] for row in group]) for end in ("wake", "sleep"))
        line[f"K = {steps}"] = " / ".join(dict.fromkeys(ends) if arm == "together" else ends)
    return list(lines.values())


def _grouped(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], list[Mapping[str, Any]]]:
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["arm"], row["negatives"], row["steps_per_phase"]), []).append(row)
    return groups


def _percent(shares: Sequence[float]) -> str:
    percent = 100 * np.array(shares)
    return mean_and_deviation(float(percent.mean()), float(percent.std(ddof=1)) if len(percent) > 1 else None)
