"""Plan of the experiment: recipes of a network, and arms, each a timeline of manipulations of its sleep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from ffstream.config import Config, Learning, parse, read, validate
from ffstream.config.network import BY_GOODNESS
from ffstream.config.section import Count, Positive, Rows, Section
from ffstream.data import datasets
from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError

# Name of the arm that is always there, as long as the longest one; all others are compared with it.
REFERENCE = "rested"
# Schedule under which a nap follows a fixed number of wake steps, so that some naps can be left out.
NAPPING = "alternating"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]*$")]
Doing = Literal["rested", "deprived", "restricted", "sham", "asleep"]


class Segment(Section):
    """A segment of an arm.

    Attributes
    ----------
    do
        ``rested``: sleep as scheduled. ``deprived``: awake without sleep. ``restricted``: only a share of the naps.
        ``sham``: sleep as scheduled, but it changes nothing. ``asleep``: only sleep, no new samples.
    steps
        Length in batches learned awake; under ``asleep``, in sleep steps.
    naps
        Under ``restricted``: share of the naps that remains.
    """

    do: Doing
    steps: Count
    naps: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _naps_are_restricted(self) -> Self:
        if (self.naps is None) == (self.do == "restricted"):
            raise ValueError("do = 'restricted' needs naps, a share between 0 and 1; any other do takes none")
        return self


class Arm(Section):
    """A timeline: the first segment is the manipulation, the rest is recovery."""

    title: str = Field(min_length=1)
    timeline: tuple[Segment, ...] = Field(min_length=1)

    @property
    def batches(self) -> int:
        """Number of batches learned."""
        return sum(segment.steps for segment in self.timeline if segment.do != "asleep")

    @property
    def steps(self) -> int:
        """Number of batches learned, plus the sleep steps of ``asleep`` segments."""
        return sum(segment.steps for segment in self.timeline)


class Recipe(Learning):
    """A network and how it learns: sections of ``ffstream.toml``, without the keys set by data, batch and seed."""

    title: str = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        network = self.network
        if network.coding == "none":
            raise ValueError("network.coding = 'none' cannot tell labels apart; choose another")
        if not isinstance(network.threshold, int | float) or network.against != "threshold":
            raise ValueError(
                "network.threshold must be a number, and network.against 'threshold', to count false accepts"
            )
        # The experiment compares the goodness in answers with a threshold; a read-out has no threshold.
        if network.prediction not in BY_GOODNESS:
            raise ValueError(
                f"network.prediction must be one of {', '.join(BY_GOODNESS)}: the experiment reads goodness"
            )
        return self

    @property
    def threshold(self) -> float:
        """Goodness at which a layer is undecided."""
        return float(self.network.threshold)


class Plan(Section):
    """The whole experiment.

    Attributes
    ----------
    dataset
        Data set by name.
    batch
        Samples per step.
    warm_up
        Batches learned with naps before the manipulation; every arm begins as a copy of the resulting network.
    seeds
        Lives of each recipe, with seeds 0, 1, … for weights, stream and every random draw.
    probes
        Number of looks at a segment, at geometric intervals; the last look is at its end.
    margin
        Points of test accuracy within which an arm counts as recovered.
    recipes, arms
        Recipes and arms by name.
    """

    dataset: str
    batch: Rows = 32
    warm_up: Count
    seeds: Count = 3
    probes: Annotated[int, Field(ge=2)] = 8
    margin: Positive = 0.5
    recipes: dict[Name, Recipe] = Field(min_length=1)
    arms: dict[Name, Arm] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dataset not in datasets.NAMES:
            raise ValueError(f"dataset {self.dataset!r} is unknown; there are {', '.join(datasets.NAMES)}")
        if REFERENCE in self.arms:
            raise ValueError(f"arms.{REFERENCE}: is always added, as long as the longest arm; rename yours")
        restricted = [name for name, arm in self.arms.items() if any(part.naps for part in arm.timeline)]
        for name, recipe in self.recipes.items():
            if restricted and recipe.phases.schedule != NAPPING:
                raise ValueError(
                    f"arms.{restricted[0]}: only the schedule {NAPPING!r} has naps to leave out, but recipes.{name} "
                    f"has {recipe.phases.schedule!r}"
                )
        return self

    @property
    def reference(self) -> Arm:
        """Arm that all others are compared with."""
        longest = max(1, *(arm.batches for arm in self.arms.values()))
        return Arm(title="Rested", timeline=(Segment(do="rested", steps=longest),))

    def looks(self, recipe: Recipe, segment: Segment) -> list[int]:
        """Return the steps after which a segment is looked at; when awake, at the end of a cycle of wake and nap."""
        cycle = 1 if segment.do == "asleep" else recipe.phases.wake_steps
        spaced = np.geomspace(min(cycle, segment.steps), segment.steps, self.probes)
        return sorted({min(segment.steps, cycle * round(step / cycle)) for step in spaced} | {segment.steps})

    def looks_at_reference(self, recipe: Recipe) -> list[int]:
        """Return the numbers of batches after which the reference is looked at: whenever any other arm is."""
        found: set[int] = set()
        for arm in self.arms.values():
            begun = 0
            for segment in arm.timeline:
                if segment.do != "asleep":
                    found |= {begun + step for step in self.looks(recipe, segment)}
                    begun += segment.steps
        return sorted(found | {self.reference.batches})

    def config(self, recipe: Recipe, data: Dataset, seed: int, device: str) -> Config:
        """Return the full configuration of a life.

        Raises
        ------
        ConfigError
            If the recipe's network does not fit the data.
        """
        values = recipe.model_dump(mode="json", exclude={"title"}, exclude_unset=True)
        network, engine = values.setdefault("network", {}), values.setdefault("engine", {})
        for key, value in {"shape": list(data.shape), "labels": data.labels}.items():
            if network.setdefault(key, value) != value:
                raise ConfigError(f"network.{key} = {network[key]}, but {self.dataset} has {value}; leave it out")
        network["seed"] = seed
        engine |= {"device": device, "max_batch": self.batch}
        return parse(values, recipe.title)

    def stamp(self, recipe: str, arm: str, seed: int, beside: Sequence[str]) -> str:
        """Return a hash of everything that the figures of a life depend on."""
        chosen = self.reference if arm == REFERENCE else self.arms[arm]
        looks = self.looks_at_reference(self.recipes[recipe]) if arm == REFERENCE else self.probes
        told = [
            self.recipes[recipe].model_dump(mode="json", exclude={"title"}),
            [segment.model_dump(mode="json") for segment in chosen.timeline],
            [self.dataset, self.batch, self.warm_up, looks, seed, *beside],
        ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def only(self, *, arms: Sequence[str], recipes: Sequence[str]) -> Plan:
        """Return the plan with the named arms and recipes only; with all of them if none is named.

        Raises
        ------
        ConfigError
            If a name is unknown.
        """
        arms = [name for name in arms if name != REFERENCE]
        for option, named, known in (("--arms", arms, self.arms), ("--recipes", recipes, self.recipes)):
            for name in named:
                if name not in known:
                    raise ConfigError(f"{option} {name}: there is no such name; choose from {', '.join(known)}")
        kept = {
            "arms": {name: self.arms[name] for name in arms} or self.arms,
            "recipes": {name: self.recipes[name] for name in recipes} or self.recipes,
        }
        return self.model_copy(update=kept)


def load(file: Path | None, *, quick: bool = False) -> Plan:
    """Read a plan from a file; without a file, read the bundled plan or the quick one.

    Raises
    ------
    ConfigError
        If the plan is invalid; the message names the file, the key, and what was expected.
    """
    if file is not None:
        return validate(Plan, read(file), str(file))
    with resources.as_file(_bundled(quick=quick)) as bundled:
        return validate(Plan, read(bundled), bundled.name)


def changed(plan: Plan, changes: dict[str, object]) -> Plan:
    """Return a plan with changed values of some keys, validated again."""
    return validate(Plan, plan.model_dump(exclude_unset=True) | changes, "the plan")


def text(*, quick: bool = False) -> str:
    """Return the text of a bundled plan, for copying."""
    return _bundled(quick=quick).read_text("utf-8")


def _bundled(*, quick: bool) -> resources.abc.Traversable:
    return resources.files("ffstream.experiments.deprivation") / ("quick.toml" if quick else "plan.toml")
