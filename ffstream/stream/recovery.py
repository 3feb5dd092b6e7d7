"""Recovery: repeats the steps from the newest checkpoint to the end of the journal, bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import numpy as np

from ffstream.errors import JournalError
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.inbox import Inbox
from ffstream.stream.journal import REMEDY, Journal
from ffstream.stream.learner import Learner
from ffstream.stream.progress import Progress, first_needed
from ffstream.stream.records import Advanced, Commanded, Quarantined, Received, Record, RolledBack, Stepped

log = logging.getLogger(__name__)


class Recovery:
    """Replays the journal from a checkpoint on.

    Parameters
    ----------
    learner, progress
        State restored from the checkpoint; advanced to the end of the journal.
    inbox
        Empty at first; in the end it holds the samples that were received but not learned.
    journal
        The journal to replay.
    store
        Holds the checkpoints of rollbacks in the journal.
    compiling
        Returns True while the compiled loop is still being made.

    Attributes
    ----------
    done, total
        Number of records replayed, and of records to replay in total.
    waiting
        True if the next step ran compiled and must wait for the compiled loop.
    """

    def __init__(
        self,
        learner: Learner,
        progress: Progress,
        inbox: Inbox,
        journal: Journal,
        store: CheckpointStore,
        compiling: Callable[[], bool],
    ) -> None:
        self.learner = learner
        self.progress = progress
        self.inbox = inbox
        self.journal = journal
        self.store = store
        self.waiting = False
        self._compiling = compiling
        self._warned = False
        self.first = first_needed(progress.state())
        self.done, self.total = 0, max(0, journal.durable - self.first + 1)

    def steps(self) -> Iterator[None]:
        """Replay record by record; the caller may do other work in between.

        Raises
        ------
        JournalError
            If the journal is damaged, or does not continue the checkpoint; nothing after that record is known.
        """
        progress = self.progress
        if 0 < self.journal.durable < progress.lsn:
            raise JournalError(
                f"{self.journal.path}: ends at record {self.journal.durable}, but the newest checkpoint is at record "
                f"{progress.lsn}; {REMEDY}"
            )
        if self.journal.durable == 0 < progress.lsn:
            log.warning("continuing from the checkpoint without the journal that it was made with")
        for lsn, record in self.journal.read(self.first):
            while self._must_wait(lsn, record):
                self.waiting = True
                yield
            self.waiting = False
            self.done += 1
            if lsn > progress.lsn or isinstance(record, Received):
                try:
                    self._apply(lsn, record)
                except _Mismatch as error:
                    raise JournalError(f"{self.journal.path}: record {lsn} does not follow: {error}") from error
                progress.lsn = max(lsn, progress.lsn)
            yield
        self.journal.skip_to(progress.lsn)
        self.learner.network.run(compiled=True)

    def feeders(self) -> dict[str, tuple[int, int, int]]:
        """Return, for each feeder, its epoch, its next sample to learn, and its next sample to receive."""
        waiting: dict[tuple[str, int], int] = {}
        for batch in self.inbox.line():
            waiting.setdefault((batch.feeder, batch.epoch), batch.first)
        received = self.progress.received.items()
        return {name: (epoch, waiting.get((name, epoch), upto), upto) for name, (epoch, upto) in received}

    def _apply(self, lsn: int, record: Record) -> None:
        learner, progress = self.learner, self.progress
        match record:
            case Received():
                self._receive(lsn, record)
            case Stepped():
                self._step(record)
            case Advanced():
                if learner.advance(quiet=record.quiet, minute=record.minute) is None:
                    raise _Mismatch("the schedule stays in its phase")
            case Commanded():
                learner.scheduler.obey(record.name)
            case RolledBack():
                learner.roll_back(self.store.read(record.checkpoint))
                if learner.version != record.version:
                    raise _Mismatch(f"{record.checkpoint} is of version {learner.version}, not {record.version}")
            case Quarantined():
                progress.consume(self.inbox.take(1))

    def _receive(self, lsn: int, record: Received) -> None:
        batch = record.batch.at(lsn)
        learned_lsn, learned = self.progress.front
        if lsn == learned_lsn:
            _, batch = batch.split(learned)
        self.progress.receive(batch)
        if len(batch.labels):
            self.inbox.put_samples(batch)

    def _must_wait(self, lsn: int, record: Record) -> bool:
        ahead = isinstance(record, Stepped) and lsn > self.progress.lsn and self._ran_compiled(record)
        return ahead and self.learner.network.compiled is None and self._compiling()

    def _ran_compiled(self, record: Stepped) -> bool:
        return record.ran_compiled(self.learner.config.engine.compile)

    def _step(self, record: Stepped) -> None:
        learner, batches = self.learner, self.inbox.take(record.samples)
        if learner.version != record.version:
            raise _Mismatch(f"a step of version {record.version}, but the weights are of version {learner.version}")
        if sum(len(batch.labels) for batch in batches) != record.samples:
            raise _Mismatch(f"a step of {record.samples} samples, but fewer are waiting")
        # The number of rows of a product decides how it is computed; the content of query rows does not matter.
        queries = np.zeros((record.queries, *learner.config.network.shape), np.uint8)
        compiled = self._ran_compiled(record)
        learner.network.run(compiled=compiled)
        if compiled and not learner.network.runs_compiled and not self._warned:
            self._warned = True
            log.warning("steps that ran compiled are replayed uncompiled, and their last bits may differ")
        learner.learn(batches, [queries] if record.queries else [])
        self.progress.consume(batches)


class _Mismatch(Exception):
    """A record does not follow from what came before it."""
