"""Outputs of the engine: answers, acknowledgements, phase changes, reports."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ffstream.ff.lesson import Phase
from ffstream.stream.backend import Backend
from ffstream.stream.inbox import QueryBatch
from ffstream.stream.phases import Override, PhaseChange
from ffstream.stream.step import SignScores, Step


@dataclass(frozen=True)
class Answer:
    """The answer to one query.

    Attributes
    ----------
    query
        The query.
    labels
        (n,) int64: the most probable label of each row.
    probabilities
        (n, C) float32, rows summing to 1.
    goodness
        (n, layers, C) float32.
    """

    query: QueryBatch
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    goodness: NDArray[np.float32]


@dataclass(frozen=True)
class Swept:
    """One sweep is done.

    Attributes
    ----------
    step
        Result of the sweep.
    seconds
        Duration of the sweep in seconds, from gathered rows to answers on the host.
    acknowledged
        Feeder to (epoch, next): all its samples below ``next`` are learned.
    answers
        Answers to the queries in the sweep.
    expired
        Queries whose deadline had passed when their turn came.
    catching_up
        True if the journal is being replayed: the weights are those of some time before the crash.
    """

    step: Step
    seconds: float
    acknowledged: dict[str, tuple[int, int]]
    answers: list[Answer]
    expired: list[QueryBatch]
    catching_up: bool = False


@dataclass(frozen=True)
class CaughtUp:
    """The journal has been replayed, and samples are accepted.

    Attributes
    ----------
    feeders
        Feeder to (epoch, next sample to learn, next sample to receive).
    records, seconds
        Number of records replayed, and duration of the replay in seconds.
    """

    feeders: Mapping[str, tuple[int, int, int]]
    records: int
    seconds: float


@dataclass(frozen=True)
class SetAside:
    """A sample ended the daemon twice and is not learned; it is kept in a file of the state directory."""

    feeder: str
    epoch: int
    sample: int
    file: str


@dataclass(frozen=True)
class Changed:
    """A phase began at ``version``, with this sleep pressure and this sleep debt (in sleep steps)."""

    version: int
    change: PhaseChange
    pressure: float
    debt: float


@dataclass(frozen=True)
class Report:
    """Periodic report of scores.

    Sweeps run on ``backend``; ``pressure`` is sleep pressure, 0 … 1, and ``debt`` is sleep debt in sleep steps;
    ``signs`` maps ``real`` and ``negative`` to the layers' scores of them; ``weight_norm`` (Frobenius) and
    ``dead_units`` (units that no row of the probe activates) have one value per layer. ``unsaved_s``: seconds for which
    there has been something that no checkpoint holds; 0 if there is nothing.
    """

    version: int
    backend: Backend
    phase: Phase
    override: Override
    holding: bool
    pressure: float
    debt: float
    samples_learned: int
    prequential: float
    prequential_window: float
    signs: dict[str, SignScores]
    weight_norm: list[float]
    dead_units: list[int]
    unsaved_s: float = 0.0

    @property
    def not_finite(self) -> list[int]:
        """Layers, from 1, with infinite or NaN weights, or infinite or NaN goodness in the last step."""
        values = zip(self.weight_norm, *(scores.goodness for scores in self.signs.values()), strict=True)
        return [layer for layer, found in enumerate(values, start=1) if not all(map(math.isfinite, found))]


@dataclass(frozen=True)
class Dreamed:
    """A dream to look at.

    Attributes
    ----------
    version
        Number of learning steps behind the weights.
    label
        Label under which it was dreamed; -1 if there are no labels.
    predicted
        Label that the network predicts for it.
    goodness
        Goodness of the label, one value per layer.
    image
        (*shape) float32: the dream, in the shape of a sample.
    """

    version: int
    label: int
    predicted: int
    goodness: list[float]
    image: NDArray[np.float32]


@dataclass(frozen=True)
class Saved:
    """A checkpoint of ``version`` is on disk, or could not be written (``error``)."""

    version: int
    name: str = ""
    error: str = ""


@dataclass(frozen=True)
class Rollback:
    """Learning went back to a checkpoint, from one version to another, and continues there in ``phase``."""

    checkpoint: str
    from_version: int
    to_version: int
    phase: Phase


def answers(step: Step, queries: Sequence[QueryBatch]) -> list[Answer]:
    """Split the scores of the query rows, which follow the learning rows, into one answer per query."""
    if not queries:
        return []
    after = step.learned + step.replayed + step.dreamed
    labels = step.scores.labels()[after:].cpu().numpy()
    probabilities = step.scores.probabilities()[after:].cpu().numpy()
    goodness = step.scores.goodness.cpu().numpy()
    cut: list[Answer] = []
    row = 0
    for query in queries:
        part = slice(row, row + len(query.inputs))
        cut.append(Answer(query, labels[part], probabilities[part], goodness[part]))
        row = part.stop
    return cut


Output: TypeAlias = Swept | CaughtUp | SetAside | Changed | Report | Dreamed | Saved | Rollback


class Outbox:
    """A queue to the server, from the engine and from the thread that keeps its checkpoints.

    Parameters
    ----------
    wake
        Ends the loop's wait on the sockets.

    Attributes
    ----------
    due
        True if something in it should leave now.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self.due = False
        self._wake = wake
        self._outputs: deque[Output] = deque()

    def put(self, output: Output, *, urgent: bool = True) -> None:
        """Add an output; one that is not urgent leaves together with the next urgent one."""
        self._outputs.append(output)
        if urgent:
            self.due = True

    def post(self, output: Output) -> None:
        """Add an output from a thread other than the loop's."""
        self.put(output)
        self._wake()

    def drain(self) -> list[Output]:
        """Take all waiting outputs, oldest first."""
        # An output that is added meanwhile leaves now or sets ``due`` again.
        self.due = False
        return [self._outputs.popleft() for _ in range(len(self._outputs))]
