"""Sleep on memory, on dreams, or on both: accuracy after one pass, and readability of the dreams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffstream.experiments.one_pass import OnePass, make_stream
from ffstream.measuring.estimate import percent
from ffstream.measuring.lives import ForwardLife, accuracy

# Sources of the rows that sleep learns, and number of samples remembered for each.
SOURCES = {"memory": 10_000, "hybrid": 10_000, "dream": 0}
# Dreams read per label, and images that the reader learns from.
EACH, READ = 100, 10_000


class Plan(OnePass):
    """Settings of the experiment."""

    @property
    def total(self) -> int:
        """Total number of lives."""
        return len(SOURCES) * self.seeds


@dataclass(frozen=True)
class Row:
    """Result of one life.

    Attributes
    ----------
    source, memory
        Source of the rows that sleep learned, and capacity of the memory in samples.
    prequential_accuracy, test_accuracy
        Share predicted right of all samples before they were learned, and of the test images at the end.
    read_as_intended, classes_present
        Share of the dreams to which an independent reader, a logistic regression trained on real images, assigns the
        label they were dreamed under, and number of labels that it finds among them; ``None`` if no dreams were
        learned.
    """

    source: str
    memory: int
    seed: int
    prequential_accuracy: float
    test_accuracy: float
    read_as_intended: float | None
    classes_present: int | None


def measure(plan: Plan, lived: Callable[[], object]) -> Iterator[Row]:
    """Run one life with every source and seed; ``lived`` is called after each life.

    Raises
    ------
    ConfigError
        If the net does not fit the images.
    """
    plan.check()
    read = reader(*plan.data.train)
    for seed in range(plan.seeds):
        for source, memory in SOURCES.items():
            yield live(plan, source, memory, seed, read)
            lived()


def live(plan: Plan, source: str, memory: int, seed: int, read: Callable[[NDArray[Any]], NDArray[Any]]) -> Row:
    """Run one life on the shuffled stream."""
    config = plan.config(source, seed, {"dreams": {"source": source}, "engine": {"memory_samples": memory}})
    life, stream = ForwardLife(config), make_stream("shuffled", plan.data, seed)
    right = plan.live(life, stream)
    intended = present = None
    if source != "memory":
        labels = np.arange(plan.data.labels).repeat(EACH)
        found = read(life.learner.dream(labels)[0])
        intended, present = float((found == labels).mean()), len(np.unique(found))
    return Row(source, memory, seed, float(right.mean()), accuracy(life, *stream.test), intended, present)


def reader(inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return a classifier of rows (n, width) in 0 … 1: scikit-learn's logistic regression of real images."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  only where dreams are read

    regression = LogisticRegression(C=0.1, max_iter=200)
    regression.fit(inputs[:READ].reshape(len(inputs[:READ]), -1) / 255, labels[:READ])
    read: Callable[[NDArray[Any]], NDArray[Any]] = regression.predict
    return read


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return means over seeds, in percent, one row per source."""
    groups = {source: [row for row in rows if row["source"] == source] for source in SOURCES}
    return [
        {
            "sleep on": source,
            "samples remembered": f"{group[0]['memory']:,}",
            "prequential accuracy, %": percent([row["prequential_accuracy"] for row in group]),
            "test accuracy, %": percent([row["test_accuracy"] for row in group]),
            "dreams read as intended, %": "–"
            if source == "memory"
            else percent([row["read_as_intended"] for row in group]),
            "classes among them": "–" if source == "memory" else str(min(row["classes_present"] for row in group)),
            "seeds": str(len(group)),
        }
        for source, group in groups.items()
        if group
    ]
