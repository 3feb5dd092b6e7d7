"""Goodness and test error of the trained recurrent network by iteration."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ffstream.config import validate
from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError
from ffstream.experiments import images
from ffstream.experiments.images import Labelled
from ffstream.experiments.recurrent import Recurrent
from ffstream.experiments.reproduction import summary
from ffstream.experiments.row import Row, find
from ffstream.experiments.run import TEST_ROWS, Run, Watcher

# Keys of a row of results.json that hold a value per iteration; the figure draws them.
BY_ITERATION = ("goodness_true", "goodness_wrong", "error_by_iteration")


def declare(
    data: Dataset,
    dataset: str,
    changes: Mapping[str, object],
    network: Mapping[str, object],
    optimizer: Mapping[str, object],
) -> Row:
    """Return the bundled row ``recurrent`` for a data set, with changed keys of the row and of its sections."""
    (bundled,) = find(names=["recurrent"])
    declared = bundled.model_dump(exclude_unset=True)
    declared |= changes
    declared["network"] |= {"shape": data.shape, "labels": data.labels, **network}
    declared["optimizer"] |= optimizer
    sizes = (math.prod(data.shape), *declared["network"]["hidden"])
    if dataset != declared["dataset"]:
        declared |= {"dataset": dataset, "published_error": None, "source": ""}
    return validate(Row, declared | {"title": f"Recurrent {'-'.join(map(str, sizes))}"}, "recurrent")


def measure(row: Row, data: Dataset, seeds: int, device: torch.device, watcher: Watcher) -> Iterator[dict[str, Any]]:
    """Train with every seed; after each, yield the row of ``results.json`` so far.

    Raises
    ------
    ConfigError
        If the row's method is not ``recurrent``, or the data do not fit its shape and labels.
    """
    records, found = [], []
    for seed in range(seeds):
        run = Run(row, seed, data, device)
        if not isinstance(run.method, Recurrent):
            raise ConfigError(f"row {row.name}: method: {row.method} has no iterations; set method to recurrent")
        watcher.begins(row, seed, run.batches * row.passes, 0)
        while not run.finished:
            watcher.tested(run.learn_pass(watcher.learned))
        records.append(run.record)
        found.append(by_iteration(run.method, run.test, row.iterations))
        yield summary(row, records) | {key: [one[key] for one in found] for key in BY_ITERATION}


def by_iteration(method: Recurrent, test: Labelled, iterations: int) -> dict[str, list[float]]:
    """Return the goodness and the error of test images at each iteration.

    Returns
    -------
    dict
        ``goodness_true``, ``goodness_wrong``: goodness of the true label, and of the wrong label with the most
        goodness; means over layers and images. ``error_by_iteration``: test error in percent if only that iteration
        decided.
    """
    parts = zip(*(torch.split(part, TEST_ROWS) for part in (test.images, test.labels)), strict=True)
    sums = sum(_sums(method.goodness(images.rows(shown), iterations), labels) for shown, labels in parts)
    true, wrong, errors = (torch.as_tensor(sums) / len(test)).tolist()
    return dict(zip(BY_ITERATION, (true, wrong, [100 * error for error in errors]), strict=True))


def _sums(goodness: Tensor, labels: Tensor) -> Tensor:
    """Return the sums over images of true goodness, best wrong goodness and errors, (3, k), from goodness (k, n, C)."""
    at = labels.expand(len(goodness), -1).unsqueeze(2)
    true = goodness.gather(2, at).squeeze(2)
    wrong = goodness.scatter(2, at, -torch.inf).amax(2)
    return torch.stack([true, wrong, (wrong >= true).to(true.dtype)]).double().sum(2)


def table(row: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return one row per iteration, means over seeds."""
    means = [map(statistics.fmean, zip(*row[key], strict=True)) for key in BY_ITERATION]
    return [
        {
            "iteration": str(number),
            "goodness of the true label": f"{true:.2f}",
            "of the best wrong one": f"{wrong:.2f}",
            "test error of this iteration, %": f"{error:.2f}",
        }
        for number, (true, wrong, error) in enumerate(zip(*means, strict=True), 1)
    ]
