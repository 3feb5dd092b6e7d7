"""Sleep on what is remembered, on dreams, or on both: what is learned in one pass, and whether dreams are readable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffstream.experiments.one_pass import OnePass, make_stream
from ffstream.measuring.estimate import percent
from ffstream.measuring.lives import ForwardLife, accuracy

# What sleep takes its rows from, and how many samples are remembered for it.
SOURCES = {"memory": 10_000, "hybrid": 10_000, "dream": 0}
# Dreams of each label that are read, and images that the reader learned from.
EACH, READ = 100, 10_000


class Plan(OnePass):
    """What is lived through."""

    @property
    def total(self) -> int:
        """Lives in all."""
        return len(SOURCES) * self.seeds


@dataclass(frozen=True)
class Row:
    """What one life came to.

    Attributes
    ----------
    source, memory
        What sleep took its rows from, and how many samples could be remembered.
    prequential_accuracy, test_accuracy
        Share predicted right of all samples before they were learned, and of the test images at the end.
    read_as_intended, classes_present
        Share of the dreams that an independent reader, a logistic regression that learned real images, takes for what
        they were dreamed as, and how many labels it finds among them; ``None`` where no dreams were learned.
    """

    source: str
    memory: int
    seed: int
    prequential_accuracy: float
    test_accuracy: float
    read_as_intended: float | None
    classes_present: int | None


def measure(plan: Plan, lived: Callable[[], object]) -> Iterator[Row]:
    """Live once with every source and seed; ``lived`` is called after each life.

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
    """Live through the shuffled stream once."""
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
    """Return what reads rows (n, width) of 0 … 1: scikit-learn's logistic regression, of the first real images."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  only where dreams are read

    regression = LogisticRegression(C=0.1, max_iter=200)
    regression.fit(inputs[:READ].reshape(len(inputs[:READ]), -1) / 255, labels[:READ])
    read: Callable[[NDArray[Any]], NDArray[Any]] = regression.predict
    return read


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return means over seeds, in percent, a row a source."""
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
