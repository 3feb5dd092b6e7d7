"""Wake and sleep in separate phases of increasing length: K steps of real data, then K of negatives, repeatedly.

The paper (arXiv 2212.13345, section 8) calls it perhaps the most important open question whether the two phases can be
separated; "Sleep Deprivation in the Forward-Forward Algorithm" (arXiv 2310.18647) found that they cannot.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ffstream.config import Config, parse
from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError
from ffstream.experiments.sleepers import ARMS, NEGATIVES, Batch, Daily, Published, Sleeper
from ffstream.measuring.estimate import percent
from ffstream.measuring.lives import accuracy

STEPS = (1, 4, 16, 64, 128, 1000)


@dataclass(frozen=True)
class Plan:
    """Settings of the experiment.

    Attributes
    ----------
    data
        Images.
    arms, negatives, steps
        Names of recipes and of negatives, and phase lengths in steps; all combinations are run.
    seeds, passes
        Lives of each combination, and passes over the training images during wake.
    device, compiled
        Device that they learn on, and true to compile the sweeps.
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
        """Every arm, negatives, steps and seed; ``together`` has no phases, so it is run with one length only."""
        return [
            (arm, negatives, steps, seed)
            for arm, negatives, steps in itertools.product(self.arms, self.negatives, self.steps)
            if arm != "together" or steps == self.steps[0]
            for seed in range(self.seeds)
        ]


@dataclass(frozen=True)
class Row:
    """Result of one life: test accuracy at the end of the last wake, and of the last sleep."""

    arm: str
    negatives: str
    steps_per_phase: int
    seed: int
    passes: int
    wake_end_accuracy: float
    sleep_end_accuracy: float


def measure(plan: Plan, lived: Callable[[str], object]) -> Iterator[Row]:
    """Run every life; ``lived`` is called with its description before it begins.

    Raises
    ------
    ConfigError
        If an arm or negatives are unknown, or a recipe does not fit the images.
    """
    for name, known in (("arms", ARMS), ("negatives", NEGATIVES)):
        if alien := set(getattr(plan, name)) - set(known):
            raise ConfigError(f"--{name}: unknown: {', '.join(sorted(alien))}; choose from {', '.join(known)}")
    # An invalid configuration fails at once, not after hours.
    for cell in plan.cells:
        configure(plan, *cell)
    for arm, negatives, steps, seed in plan.cells:
        lived(f"{arm}, {negatives}, {steps} steps, seed {seed}")
        yield live(plan, arm, negatives, steps, seed)


def live(plan: Plan, name: str, negatives: str, steps: int, seed: int) -> Row:
    """Run one life of a recipe, with wakes and sleeps of ``steps`` each."""
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
    # Sleep draws from all samples seen, as learning both signs in each step does.
    engine = {"device": plan.device, "max_batch": arm.batch, "compile": plan.compiled}
    engine["memory_samples"] = len(plan.data.train[1])
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
    """Yield batches of the training images, pass after pass, each pass in its own order."""
    inputs, labels = plan.data.train
    for number in range(plan.passes):
        order = np.random.default_rng((seed, number)).permutation(len(labels))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            yield inputs[chosen], labels[chosen]


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return means over seeds in percent, at the end of wake and of sleep, one row per recipe and negatives."""
    columns = sorted({row["steps_per_phase"] for row in rows})
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for (arm, negatives, steps), group in _grouped(rows).items():
        line = lines.setdefault(
            (arm, negatives), {"arm": arm, "negatives": negatives, **{f"K = {steps}": "–" for steps in columns}}
        )
        ends = (percent([row[f"{end}_end_accuracy"] for row in group]) for end in ("wake", "sleep"))
        line[f"K = {steps}"] = " / ".join(dict.fromkeys(ends) if arm == "together" else ends)
    return list(lines.values())


def _grouped(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], list[Mapping[str, Any]]]:
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["arm"], row["negatives"], row["steps_per_phase"]), []).append(row)
    return groups
