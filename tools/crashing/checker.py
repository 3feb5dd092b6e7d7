"""Compares acknowledgements with the journal and with the final weights, without a daemon.

The journal is replayed from its first record by a learner that never crashed, with separate code, not that of the
daemon's recovery.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from crashing.feeders import EPOCH, FEEDERS, LedgerError, read_ledger
from ffstream.config import Config
from ffstream.errors import StateError
from ffstream.stream import measurements
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.journal import Journal
from ffstream.stream.learner import Learner
from ffstream.stream.records import Advanced, Commanded, Quarantined, Received, Record, Stepped
from ffstream.stream.snapshot import Snapshot

# Maximum number of problems reported of each kind.
TOLD = 5

Sample = tuple[str, int]


@dataclass
class Findings:
    """Findings of the checker.

    Attributes
    ----------
    acknowledged
        Number of samples acknowledged to feeders.
    learned_once
        Number of acknowledged samples that the journal holds as sent, and that exactly one learning step took.
    lost
        Number of acknowledged samples that the journal does not hold as sent, or that no step took.
    duplicated
        Number of samples, acknowledged or not, that entered the journal twice.
    quarantined
        Number of samples that the daemon quarantined.
    weights_equal
        True if weights, centers, memory, schedule, counters and scores of the last checkpoint are bit for bit those of
        a run without a crash.
    problems
        Descriptions of the problems.
    """

    acknowledged: int = 0
    learned_once: int = 0
    lost: int = 0
    duplicated: int = 0
    quarantined: int = 0
    weights_equal: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True if the promise was tested and kept."""
        return not self.problems and self.weights_equal and 0 < self.acknowledged == self.learned_once


class UncrashedRun:
    """Replays the journal from the beginning, without a crash, and counts the samples that each step took.

    Attributes
    ----------
    learner
        The replayed learner.
    received, consumed
        Number of times each sample, by feeder and number, entered the journal, and a learning step.
    altered
        Samples that differ from what their feeder sends under their number.
    quarantined
        Quarantined samples.
    """

    def __init__(self, config: Config) -> None:
        self.learner = Learner(config, measurements.load(config.state.directory))
        self.learner.compile()
        self.received: Counter[Sample] = Counter()
        self.consumed: Counter[Sample] = Counter()
        self.altered: set[Sample] = set()
        self.quarantined: set[Sample] = set()
        self._line: deque[tuple[Sample, NDArray[Any], int]] = deque()
        self._feeders = {feeder.name: feeder for feeder in FEEDERS}

    def follow(self, record: Record) -> None:
        """Apply a record; raise ValueError if it is inconsistent with the earlier ones."""
        match record:
            case Received():
                self._receive(record)
            case Stepped():
                self._step(record)
            case Advanced():
                if self.learner.advance(quiet=record.quiet, minute=record.minute) is None:
                    raise ValueError("the schedule does not move here")
            case Commanded():
                self.learner.scheduler.obey(record.name)
            case Quarantined():
                self.quarantined.add(self._line.popleft()[0])
            case _:
                raise ValueError(f"nothing in this test asks for it: {record}")

    def _receive(self, record: Received) -> None:
        batch = record.batch
        if batch.feeder not in self._feeders or batch.epoch != EPOCH:
            raise ValueError(f"nobody feeds as {batch.feeder!r}, epoch {batch.epoch}")
        inputs, labels = self._feeders[batch.feeder].samples(batch.first, len(batch.labels))
        if batch.inputs.dtype != inputs.dtype or batch.inputs.shape != inputs.shape:
            raise ValueError(f"samples are {batch.inputs.dtype} {batch.inputs.shape}, sent were {inputs.dtype}")
        for row in range(len(labels)):
            sample = batch.feeder, batch.first + row
            self.received[sample] += 1
            if batch.labels[row] != labels[row] or batch.inputs[row].tobytes() != inputs[row].tobytes():
                self.altered.add(sample)
            self._line.append((sample, batch.inputs[row : row + 1], int(batch.labels[row])))

    def _step(self, record: Stepped) -> None:
        if self.learner.version != record.version:
            raise ValueError(f"a step of version {record.version}, the weights are of version {self.learner.version}")
        if record.samples > len(self._line):
            raise ValueError(f"a step takes {record.samples} samples, {len(self._line)} are in line")
        taken = [self._line.popleft() for _ in range(record.samples)]
        self.consumed.update(sample for sample, _, _ in taken)
        # Use the loop that the daemon used then.
        self.learner.network.run(compiled=record.ran_compiled(self.learner.config.engine.compile))
        # A sweep with the same number of rows; the content of query rows does not matter.
        queries = np.zeros((record.queries, *self.learner.config.network.shape), np.uint8)
        labels = np.array([label for _, _, label in taken], np.int64)
        self.learner.step([row for _, row, _ in taken], labels, [queries] if record.queries else [])


def check(config: Config, ledgers: Path) -> Findings:
    """Compare ledgers, journal and newest checkpoint of a daemon that has stopped.

    Parameters
    ----------
    config
        Its configuration; ``state.directory`` holds the journal and the checkpoints.
    ledgers
        Folder of the feeders' ledgers.
    """
    findings = Findings()
    run = UncrashedRun(config)
    try:
        for lsn, record in _journal(config.state.directory / "journal.sqlite"):
            try:
                run.follow(record)
            except ValueError as error:
                raise ValueError(f"record {lsn} ({type(record).__name__}): {error}") from error
    except (StateError, ValueError) as error:
        findings.problems.append(f"the journal cannot be followed: {error}")
    _compare_samples(findings, run, list(_acknowledged(findings, ledgers)))
    _compare_weights(findings, run.learner, config)
    return findings


def _journal(path: Path) -> Iterator[tuple[int, Record]]:
    journal = Journal(path)
    try:
        yield from journal.read(1)
    finally:
        journal.close()


def _acknowledged(findings: Findings, ledgers: Path) -> Iterator[Sample]:
    for feeder in FEEDERS:
        try:
            upto = read_ledger(ledgers / feeder.name)
        except (OSError, LedgerError) as error:
            findings.problems.append(f"ledger of {feeder.name}: {error}")
            continue
        yield from ((feeder.name, number) for number in range(upto))


def _compare_samples(findings: Findings, run: UncrashedRun, acknowledged: list[Sample]) -> None:
    findings.acknowledged = len(acknowledged)
    if not acknowledged:
        findings.problems.append("nothing was acknowledged")
    duplicated = [sample for sample, times in run.received.items() if times > 1]
    once = {s for s in acknowledged if run.received[s] == run.consumed[s] == 1 and s not in run.altered}
    lost = [
        s
        for s in acknowledged
        if s in run.altered or not run.received[s] or not run.consumed[s] + (s in run.quarantined)
    ]
    findings.learned_once, findings.lost, findings.duplicated = len(once), len(lost), len(duplicated)
    findings.quarantined = len(run.quarantined)
    findings.problems += _told("acknowledged and lost", lost)
    findings.problems += _told("not what was sent", sorted(run.altered))
    findings.problems += _told("received twice", duplicated)
    findings.problems += _told("set aside", sorted(run.quarantined))


def _compare_weights(findings: Findings, learner: Learner, config: Config) -> None:
    try:
        saved, damaged = CheckpointStore(config.state.directory, config.state.keep).newest()
    except StateError as error:
        saved, damaged = None, [str(error)]
    findings.problems += damaged
    if saved is None:
        findings.problems.append("there is no checkpoint that can be read")
        return
    different = list(_differences(learner.snapshot(), saved))
    findings.weights_equal = not different
    findings.problems += _told("not that of the run without a crash", different)


def _differences(expected: Snapshot, saved: Snapshot) -> Iterator[str]:
    """Name everything in a checkpoint that is not bit for bit as expected."""
    if expected.version != saved.version:
        yield f"version {saved.version} (it had {expected.version})"
    for key, value in expected.manifest.items():
        if saved.manifest.get(key) != json.loads(json.dumps(value)):
            yield f"{key} {reprlib.repr(saved.manifest.get(key))} (it had {reprlib.repr(value)})"
    for file, tensors in expected.tensors.items():
        found = saved.tensors.get(file, {})
        for name in tensors.keys() | found.keys():
            # As bytes with dtype and shape: 0 and -0 are not the same bits.
            if name not in tensors or name not in found or save({"": tensors[name]}) != save({"": found[name]}):
                yield f"{file}.{name}"


def _told(what: str, which: Iterable[object]) -> list[str]:
    which = list(which)
    more = f", and {len(which) - TOLD} more" if len(which) > TOLD else ""
    return [f"{what}: {', '.join(map(str, which[:TOLD]))}{more}"] if which else []
