"""Grid over two keys of the network: every value of one with every value of the other, each at a tuned step size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from ffstream.config import NetworkConfig, validate
from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError
from ffstream.experiments.row import Row
from ffstream.experiments.run import Watcher, carry_out
from ffstream.measuring.estimate import Estimate

# Training images held out to choose the step size; a fifth of a small data set.
HELD_OUT = 5_000
RATES = (3e-4, 1.5e-3, 7e-3)


@dataclass(frozen=True)
class Plan:
    """Settings of the grid.

    Attributes
    ----------
    keys
        Two keys of ``[network]``.
    choices
        Values of each key.
    passes
        Numbers of passes; each has its own grid.
    rates
        Step sizes that each cell tries with the first seed on all but the held-out training images; the one with the
        highest accuracy on those is kept.
    thresholds
        Values of ``network.threshold`` to try with each step size; only the default if none is given.
    seeds
        Runs of each cell on all training images.
    data, dataset, batch
        Images, name of the data set, and images per step.
    runs, device
        Folder in which runs are saved, and device that they learn on.
    """

    keys: tuple[str, str]
    choices: tuple[Sequence[str], Sequence[str]]
    passes: Sequence[int]
    rates: Sequence[float]
    thresholds: Sequence[float | str]
    seeds: int
    data: Dataset
    dataset: str
    batch: int
    runs: Path
    device: torch.device

    @property
    def cells(self) -> list[tuple[int, str, str]]:
        """Passes and choices of every cell."""
        return list(itertools.product(self.passes, *self.choices))

    @property
    def total(self) -> int:
        """Total number of runs."""
        tried = len(self.rates) * max(1, len(self.thresholds))
        return len(self.cells) * (self.seeds + (tried if tried > 1 else 0))


def known(key: str) -> tuple[str, ...]:
    """Return the values that a key of ``[network]`` accepts, in the order of the configuration.

    Raises
    ------
    ConfigError
        If there is no such key, or its values are not names.
    """
    field = NetworkConfig.model_fields.get(key)
    names = get_args(field.annotation) if field else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"network.{key}: is not a key with names to choose from")
    return names


def measure(plan: Plan, watcher: Watcher) -> Iterator[list[dict[str, Any]]]:
    """Run the grid cell by cell; yield the rows so far after each cell."""
    done: list[dict[str, Any]] = []
    # All cells are declared before the first one runs, so that an invalid one fails at once, not after hours.
    declared = [_declared(plan, *cell) for cell in plan.cells]
    for (passes, first, second), tried in zip(plan.cells, declared, strict=True):
        row = _best(plan, tried, watcher) if len(tried) > 1 else tried[0]
        errors = [
            carry_out(row, seed, plan.data, plan.device, plan.runs, watcher).errors[-1] for seed in range(plan.seeds)
        ]
        accuracies = [1 - error / 100 for error in errors]
        done.append(
            {
                **dict(zip(plan.keys, (first, second), strict=True)),
                "passes": passes,
                "rate": row.optimizer.rate,
                "threshold": row.network.threshold,
                "test_accuracy": Estimate.of(accuracies).mean,
                "test_accuracy_std": Estimate.of(accuracies).deviation,
                "accuracies": accuracies,
                "seeds": plan.seeds,
            }
        )
        yield done


def table(rows: Sequence[Mapping[str, Any]], keys: tuple[str, str]) -> list[dict[str, str]]:
    """Return test accuracies in percent, one row per value of the first key, one column per value of the second."""
    columns = dict.fromkeys(row[keys[1]] for row in rows)
    lines: dict[tuple[int, str], dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault(
            (row["passes"], row[keys[0]]),
            {"passes": str(row["passes"]), keys[0]: row[keys[0]], **dict.fromkeys(columns, "–")},
        )
        line[row[keys[1]]] = Estimate.of(row["accuracies"], 100).with_deviation(2)
    return list(lines.values())


def _declared(plan: Plan, passes: int, first: str, second: str) -> list[Row]:
    """Declare a cell as rows of the reproduction table, one per step size and threshold."""
    tried = itertools.product(plan.rates, plan.thresholds or (None,))
    return [
        validate(
            Row,
            {
                "name": f"{first}-{second}-{passes}-{number}".lower(),
                "title": f"{first}, {second}, {passes} pass(es)",
                "dataset": plan.dataset,
                "passes": passes,
                "batch": plan.batch,
                "decay": 0.0,
                "network": {
                    "shape": plan.data.shape,
                    "labels": plan.data.labels,
                    **dict(zip(plan.keys, (first, second), strict=True)),
                    **({} if threshold is None else {"threshold": threshold}),
                },
                "optimizer": {"rate": rate},
            },
            f"{first}, {second}",
        )
        for number, (rate, threshold) in enumerate(tried)
    ]


def _best(plan: Plan, tried: Sequence[Row], watcher: Watcher) -> Row:
    """Return the row with the lowest error on held-out training images with the first seed; the test set is unused."""
    held = held_out(plan.data)
    folder = plan.runs / "held-out"
    return min(tried, key=lambda row: carry_out(row, 0, held, plan.device, folder, watcher).errors[-1])


def held_out(data: Dataset) -> Dataset:
    """Split the training images: the last ones in a fixed random order replace the test images."""
    inputs, labels = data.train
    order = np.random.default_rng(0).permutation(len(labels))
    count = min(HELD_OUT, len(labels) // 5)
    rest, kept = order[:-count], order[-count:]
    return replace(data, train=(inputs[rest], labels[rest]), test=(inputs[kept], labels[kept]))
