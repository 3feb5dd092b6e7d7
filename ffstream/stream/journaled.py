"""A learner that records every change in the journal; ``Recovery`` replays the records.

Nothing here waits for the disk: a record is appended after the change. Acknowledgements and checkpoints do wait, so a
step that never reached the disk is made again after a crash, perhaps on other samples; nobody knows of the lost one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffstream import failpoints
from ffstream.stream.attempt import Attempt
from ffstream.stream.disk import flush
from ffstream.stream.inbox import SampleBatch
from ffstream.stream.journal import Journal
from ffstream.stream.learner import Learner
from ffstream.stream.outbox import Rollback, SetAside
from ffstream.stream.phases import PhaseChange
from ffstream.stream.progress import Progress
from ffstream.stream.records import Advanced, Commanded, Quarantined, Record, RolledBack, Stepped
from ffstream.stream.snapshot import Snapshot
from ffstream.stream.step import Step

log = logging.getLogger(__name__)


class JournaledLearner:
    """Changes a learner, and journals each change.

    Parameters
    ----------
    learner
        The learner to change.
    progress
        Its position in the journal and in each feeder's stream.
    journal
        The journal to write to.
    directory
        Folder for the note of the current step, and for samples that are set aside.
    """

    def __init__(self, learner: Learner, progress: Progress, journal: Journal, directory: Path) -> None:
        self.learner = learner
        self.progress = progress
        self.journal = journal
        self.attempt = Attempt(directory / "attempt")
        self._directory = directory

    def advance(self, *, quiet: bool, minute: int) -> PhaseChange | None:
        """Advance the schedule; see ``Learner.advance``."""
        change = self.learner.advance(quiet=quiet, minute=minute)
        if change is not None:
            self._write(Advanced(quiet, minute))
        return change

    def obey(self, command: str) -> None:
        """Carry out an operator's command: ``sleep``, ``wake``, ``sham``, ``auto``, ``hold`` or ``resume``."""
        self.learner.scheduler.obey(command)
        self._write(Commanded(command))

    def step(self, samples: Sequence[SampleBatch], queries: Sequence[NDArray[Any]]) -> Step:
        """Make a learning step; note it before it begins, and journal it when it has ended."""
        count = sum(len(batch.labels) for batch in samples)
        if samples:
            last = samples[-1]
            self.attempt.begin(samples[0].place, (last.lsn, last.offset + len(last.labels) - 1))
        failpoints.reach("step.begin")
        if failpoints.armed():
            for batch in samples:
                for number in range(batch.first, batch.first + len(batch.labels)):
                    failpoints.reach(f"sample.{batch.feeder}.{number}")
        step = self.learner.learn(samples, queries)
        failpoints.reach("step.end")
        self._write(Stepped(step.version, count, sum(map(len, queries)), self.learner.network.runs_compiled))
        if samples:
            self.attempt.end()
        return step

    def at_once(self, front: SampleBatch | None, most: int) -> int:
        """Return how many samples the next step may take; those that may have ended the process go one at a time.

        Such a sample must be on disk first: if it ended the process before that, it would only be sent again.
        """
        if front is not None and not self.attempt.suspects(front.place):
            return most
        return 1 if front is not None and front.lsn <= self.journal.durable else 0

    def condemned(self, front: SampleBatch | None) -> bool:
        """Return True if the next sample in line has ended the daemon twice."""
        return front is not None and self.attempt.condemned == front.place

    def set_aside(self, sample: SampleBatch) -> SetAside:
        """Skip a sample without learning it, and keep it in a file."""
        file = self._directory / f"quarantine-{sample.lsn}-{sample.offset}.npz"
        np.savez(file, inputs=sample.inputs, labels=sample.labels)
        flush(file)
        flush(file.parent)
        self.progress.consume([sample])
        self._write(Quarantined(sample.feeder, sample.epoch, sample.first))
        log.error("sample %d of feeder %r ended the daemon twice: set aside in %s", sample.first, sample.feeder, file)
        return SetAside(sample.feeder, sample.epoch, sample.first, file.name)

    def roll_back(self, name: str, snapshot: Snapshot) -> Rollback:
        """Go back to a checkpoint. Acknowledgements stay valid: no sample is learned twice."""
        learner, undone = self.learner, self.learner.version
        learner.roll_back(snapshot)
        self._write(RolledBack(name, learner.version, undone))
        log.warning("rolled back to %s: from version %d to %d", name, undone, learner.version)
        return Rollback(name, undone, learner.version, learner.scheduler.phase)

    def snapshot(self) -> Snapshot:
        """Copy all state that survives a restart."""
        return self.learner.snapshot({"progress": self.progress.state()})

    def _write(self, record: Record) -> None:
        self.progress.lsn = self.journal.append(record)
