"""The reproduction table: our test errors next to the published ones."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ffstream.data import datasets
from ffstream.data.datasets import Dataset
from ffstream.experiments.images import enlarged
from ffstream.experiments.row import Row
from ffstream.experiments.run import Record, Watcher, carry_out
from ffstream.measuring.estimate import Estimate

# A quick run shows that every row works, offline and within a minute; its figures mean nothing, so they are not
# compared with published ones.
QUICK = {"passes": 1, "dataset": "digits", "published_error": None, "source": ""}
QUICK_TRAIN, QUICK_TEST = 256, 100


@dataclass(frozen=True)
class Plan:
    """Settings of a reproduction.

    Attributes
    ----------
    rows
        Rows to reproduce.
    data_root
        Folder of the data sets.
    runs
        Folder in which runs are saved, so that they can resume.
    device
        Device that they learn on.
    seeds
        Runs of each row; ``None`` for as many as the row declares.
    quick
        True for one pass over a few bundled digits, resized to the network's shape, instead of the row's data.
    """

    rows: Sequence[Row]
    data_root: Path
    runs: Path
    device: torch.device
    seeds: int | None = None
    quick: bool = False

    def times(self, row: Row) -> int:
        """Return the number of seeds of a row."""
        return self.seeds or (1 if self.quick else row.seeds)

    @property
    def total(self) -> int:
        """Total number of runs."""
        return sum(map(self.times, self.rows))


def reproduce(plan: Plan, watcher: Watcher) -> Iterator[list[dict[str, Any]]]:
    """Carry out every run of a plan; yield, after each, the rows of ``results.json`` so far.

    Test error is the one after the last pass, never the best of several.
    """
    load = cache(lambda name: datasets.load(name, plan.data_root))
    done: list[dict[str, Any]] = []
    for declared in plan.rows:
        row = declared.model_copy(update=QUICK) if plan.quick else declared
        data = _few(row) if plan.quick else load(row.dataset)
        records: list[Record] = []
        for seed in range(plan.times(row)):
            records.append(carry_out(row, seed, data, plan.device, plan.runs, watcher))
            yield [*done, summary(row, records)]
        done.append(summary(row, records))


def summary(row: Row, records: Sequence[Record]) -> dict[str, Any]:
    """Return the entry of a row in ``results.json``: errors in percent, seconds of learning, means over seeds."""
    last = [record.errors[-1] for record in records]
    told = row.model_dump(
        mode="json", include={"name", "title", "published_error", "source", "dataset", "method", "passes", "batch"}
    )
    return told | {
        "units": [layer.units for layer in row.network.stack],
        "error_mean": Estimate.of(last).mean,
        "error_std": Estimate.of(last).deviation,
        "seeds": len(records),
        "seconds": statistics.fmean(record.seconds for record in records),
        "device": records[-1].device,
        "parameters": records[-1].parameters,
        "samples": records[-1].samples,
        "predictions": {
            rule: {
                "error_mean": statistics.fmean(record.predictions[rule]["error"] for record in records),
                "seconds_per_1000": statistics.median(
                    record.predictions[rule]["seconds_per_1000"] for record in records
                ),
            }
            for rule in records[-1].predictions
        },
        "errors": last,
        "errors_by_pass": [record.errors for record in records],
    }


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rows for display: our errors next to the published ones, in percent."""
    return [
        {
            "row": row["name"],
            "what": row["title"],
            "method": row["method"],
            "published error, %": "–" if row["published_error"] is None else f"{row['published_error']:g}",
            "our error, %": Estimate.of(row["errors"]).with_deviation(2),
            "seeds": str(row["seeds"]),
            "passes": str(row["passes"]),
            "s a run": f"{row['seconds']:,.0f}",
            "source": row["source"] or "–",
        }
        for row in rows
    ]


def _few(row: Row) -> Dataset:
    data = enlarged(datasets.load("digits", Path()), row.network.shape)
    (images, labels), (test, answers) = data.train, data.test
    few = (images[:QUICK_TRAIN], labels[:QUICK_TRAIN]), (test[:QUICK_TEST], answers[:QUICK_TEST])
    return replace(data, train=few[0], test=few[1])
