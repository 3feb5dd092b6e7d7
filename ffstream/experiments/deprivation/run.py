"""Lives: a rested beginning, then every arm from a copy of it; an interrupted experiment resumes where it stopped."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ffstream.data.datasets import Dataset
from ffstream.experiments.deprivation.plan import REFERENCE, Plan, Recipe, Segment
from ffstream.experiments.deprivation.readouts import read
from ffstream.experiments.deprivation.subjects import Standing, Subject
from ffstream.experiments.kept import keep

# Override of each kind of segment; ``asleep`` has none.
OVERRIDES = {"rested": "auto", "deprived": "wake", "restricted": "wake", "sham": "sham"}

Row = dict[str, Any]
# Makes the subject of a recipe and a seed, and disposes of it.
Enrol = Callable[[Recipe, int], AbstractContextManager[Subject]]


class Watcher(Protocol):
    """Observer of the progress of lives."""

    def begins(self, what: str, steps: int) -> None:
        """Called when a part of a life begins, with its number of steps."""

    def lived(self, steps: int) -> None:
        """Called after some more steps of this part."""

    def over(self, lives: int) -> None:
        """Called with the total number of finished lives."""


class Stream:
    """Endless passes over the training images, shuffled anew for each pass.

    Parameters
    ----------
    data
        Images.
    batch
        Samples per batch; an incomplete batch at the end of a pass is left out.
    seed
        Seed of the order.
    """

    def __init__(self, data: Dataset, batch: int, seed: int) -> None:
        self._inputs, self._labels = data.train
        self._batch, self._seed = min(batch, len(self._labels)), seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return a batch of the stream, by number from 0."""
        passed, place = divmod(number, len(self._labels) // self._batch)
        if passed != self._order[0]:
            self._order = (passed, np.random.default_rng((self._seed, passed)).permutation(len(self._labels)))
        chosen = self._order[1][place * self._batch :][: self._batch]
        return self._inputs[chosen], self._labels[chosen]


@dataclass
class Experiment:
    """A plan, and everything needed to carry it out.

    Attributes
    ----------
    plan, data
        Plan and images.
    enrol
        Makes subjects.
    beside
        Further facts that figures depend on, besides plan and seed, such as where the subjects run.
    runs
        Folder in which finished lives are saved.
    watcher
        Observer of the progress.
    """

    plan: Plan
    data: Dataset
    enrol: Enrol
    beside: Sequence[str]
    runs: Path
    watcher: Watcher

    def carry_out(self) -> Iterator[list[Row]]:
        """Run every life that is not saved yet; after each seed of a recipe, yield the rows of all lives so far."""
        done: list[Row] = []
        arms, finished = [REFERENCE, *self.plan.arms], 0
        for name, recipe in self.plan.recipes.items():
            for seed in range(self.plan.seeds):
                missing = [arm for arm in arms if self._kept(name, arm, seed) is None]
                finished += len(arms) - len(missing)
                self.watcher.over(finished)
                if missing:
                    with self.enrol(recipe, seed) as subject:
                        for _ in self._live(subject, name, seed, missing):
                            finished += 1
                            self.watcher.over(finished)
                for arm in arms:
                    done += self._kept(name, arm, seed) or []
                yield done

    def _live(self, subject: Subject, recipe: str, seed: int, arms: Sequence[str]) -> Iterator[None]:
        plan, stream = self.plan, Stream(self.data, self.plan.batch, seed)
        self.watcher.begins(f"{recipe}, seed {seed}: the rested beginning", plan.warm_up)
        for number in range(plan.warm_up):
            subject.learn(*stream[number])
            self.watcher.lived(1)
        subject.keep()
        for arm in arms:
            subject.go_back()
            told = {"recipe": recipe, "arm": arm, "seed": seed}
            rows = [
                told | row for row in self._arm(subject, plan.recipes[recipe], arm, stream, f"{recipe}, seed {seed}")
            ]
            self._keep(recipe, arm, seed, rows)
            yield

    def _arm(self, subject: Subject, recipe: Recipe, name: str, stream: Stream, whose: str) -> Iterator[Row]:
        """Run an arm; yield one row per look."""
        plan = self.plan
        arm = plan.reference if name == REFERENCE else plan.arms[name]
        self.watcher.begins(f"{whose}: {name}", arm.steps)
        eye, batches = _Eye(subject, self.data, recipe.threshold), 0
        yield {"segment": 0, "do": "rested", "batches": batches, **eye.look()}
        for number, segment in enumerate(arm.timeline, start=1):
            looks = plan.looks_at_reference(recipe) if name == REFERENCE else plan.looks(recipe, segment)
            if segment.do != "asleep":
                subject.obey(OVERRIDES[segment.do])
            for done, step in itertools.pairwise([0, *looks]):
                if segment.do == "asleep":
                    subject.sleep(step - done)
                else:
                    for batch in range(done, step):
                        subject.learn(*stream[plan.warm_up + batches])
                        batches += 1
                        _nap_if_kept(subject, recipe, segment, batch)
                self.watcher.lived(step - done)
                yield {"segment": number, "do": segment.do, "batches": batches, **eye.look()}

    def _keep(self, recipe: str, arm: str, seed: int, rows: Sequence[Row]) -> None:
        kept = json.dumps({"stamp": self.plan.stamp(recipe, arm, seed, self.beside), "rows": rows})
        keep(self._file(recipe, arm, seed), lambda file: file.write_text(kept))

    def _kept(self, recipe: str, arm: str, seed: int) -> list[Row] | None:
        file = self._file(recipe, arm, seed)
        if not file.exists():
            return None
        kept = json.loads(file.read_text())
        rows: list[Row] = kept["rows"]
        return rows if kept["stamp"] == self.plan.stamp(recipe, arm, seed, self.beside) else None

    def _file(self, recipe: str, arm: str, seed: int) -> Path:
        return self.runs / f"{recipe}--{arm}--seed{seed}.json"


class _Eye:
    """Observer of a subject, which counts steps from its first look.

    Parameters
    ----------
    subject
        Subject to look at.
    data
        Data with the test images.
    threshold
        Threshold of the subject's layers.
    """

    def __init__(self, subject: Subject, data: Dataset, threshold: float) -> None:
        self._subject, self._data, self._threshold = subject, data, threshold
        self._begun: Standing | None = None
        self._before: Standing | None = None

    def look(self) -> Row:
        """Return the columns of a row: steps since the first look, and the read-outs."""
        inputs, labels = self._data.test
        now, answers = self._subject.look(inputs)
        found = asdict(read(*answers, labels, self._threshold))
        begun, before = self._begun or now, self._before or now
        self._begun, self._before = begun, now
        samples = now.samples - before.samples
        awake, asleep = now.awake_steps - begun.awake_steps, now.sleep_steps - begun.sleep_steps
        return {
            "steps": awake + asleep,
            "awake_steps": awake,
            "sleep_steps": asleep,
            # Accuracy on the samples since the previous look.
            "prequential_accuracy": (now.correct - before.correct) / samples if samples else None,
            **{key: None if math.isnan(value) else value for key, value in found.items()},
            "weight_norm": now.weight_norm,
            "dead_units": now.dead_units,
            "goodness_dreamed": now.goodness_dreamed,
        }


def _nap_if_kept(subject: Subject, recipe: Recipe, segment: Segment, batch: int) -> None:
    """Under restricted sleep, allow the nap after a batch if it is one of those that remain."""
    cycle, within = divmod(batch + 1, recipe.phases.wake_steps)
    # The nap of a cycle of wake and nap remains if the number of remaining naps grows with that cycle.
    if segment.naps is not None and within == 0 and _naps(cycle, segment.naps) > _naps(cycle - 1, segment.naps):
        subject.obey("auto")
        subject.obey("wake")


def _naps(cycles: int, share: float) -> int:
    # A share such as 0.1 is not exact as a float.
    return math.floor(cycles * share + 1e-9)
