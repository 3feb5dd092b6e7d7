"""The engine: gathers work, sweeps, and replies. It is the only owner of the weights.

The daemon's loop runs one turn of the engine between reading the sockets and answering on them. Everything reaches the
engine through the inbox and leaves it through the outbox; no other thread touches the learner. The engine writes what
it does to the journal and does not wait for the disk: acknowledgements and checkpoints do.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future
from dataclasses import asdict, replace
from typing import Any, assert_never

from ffstream.commands import CommandName
from ffstream.config import Config
from ffstream.errors import CatchingUp, StateError
from ffstream.ff.lesson import Phase
from ffstream.stream import measurements
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.compilation import Compilation
from ffstream.stream.inbox import Command, Inbox, Work
from ffstream.stream.journal import Journal
from ffstream.stream.journaled import JournaledLearner
from ffstream.stream.keeper import Keeper, reply_with
from ffstream.stream.learner import Learner
from ffstream.stream.outbox import CaughtUp, Changed, Outbox, Report, Swept, answers
from ffstream.stream.progress import Progress
from ffstream.stream.recovery import Recovery
from ffstream.stream.reporter import Reporter
from ffstream.stream.saving import Saving
from ffstream.stream.snapshot import Snapshot

log = logging.getLogger(__name__)

# Seconds that the output of a sweep without queries may be held back, to leave together with later output.
TOGETHER_S = 0.01
# Maximum number of samples in a sweep while a query or command waits, since its reply waits for the whole sweep.
BESIDE_QUERIES = 16
# Number of journal records by which learning may run ahead of the disk.
AHEAD = 16_384
# Seconds of replay per turn, and seconds between log lines about the progress of a replay.
REPLAY_S, TELL_S = 0.005, 2.0


class Engine:
    """Drives the learner with the work from the inbox.

    Parameters
    ----------
    config
        The whole configuration.
    store
        Store of the checkpoints; the newest one that verifies is restored.
    journal
        Journal that is replayed from that checkpoint on, and then written to.
    inbox, outbox
        The two queues to the server.

    Attributes
    ----------
    learner, progress
        The learner, and its position in the journal and in each feeder's stream.
    life
        Applies every change to them, and journals it.
    recovery
        The replay of the journal; ``None`` once it is done.
    compilation
        The compilation of the learner's loops; ``None`` if it is off or done.
    damaged
        Reason for each checkpoint that did not verify and was set aside at the start.
    restored_from
        The manifest of the checkpoint that the engine started from, or ``None``.
    report
        The latest report.
    failure
        The exception that broke a turn.
    alive_at
        ``time.monotonic()`` of the last turn.

    Raises
    ------
    CheckpointError
        If the newest checkpoint belongs to a different network than the configuration describes.
    """

    def __init__(self, config: Config, store: CheckpointStore, journal: Journal, inbox: Inbox, outbox: Outbox) -> None:
        self.config = config
        self.inbox = inbox
        self.outbox = outbox
        self.store = store
        self.journal = journal
        products = measurements.load(store.directory)
        self.learner = Learner(config, products)
        measurements.save(store.directory, products)
        self.progress = Progress(config.server.feeders)
        self.failure: BaseException | None = None
        self.report: Report | None = None
        snapshot, self.damaged = store.newest()
        self.restored_from = None if snapshot is None else snapshot.manifest
        if snapshot is not None:
            self.learner.restore(snapshot)
            self.progress.restore(snapshot.manifest["progress"])
        self.life = JournaledLearner(self.learner, self.progress, journal, store.directory)
        self.recovery: Recovery | None = Recovery(
            self.learner, self.progress, inbox, journal, store, lambda: self.compilation is not None
        )
        self._replaying = self.recovery.steps()
        self.alive_at = self._told_at = self._sample_at = self._reported_at = time.monotonic()
        self._started_at = self.alive_at
        # Time since which samples have waited for a full batch, and the sample limit of the last turn.
        self._filling_at: float | None = None
        self._most = config.engine.max_batch
        self._answers_alone = False
        self._reporter = Reporter(self.learner)
        self._keeper = Keeper(store, journal, outbox, -1 if snapshot is None else self.progress.lsn)
        self._saving = Saving(config.state, self.progress, journal, self._keeper)
        self.compilation: Compilation | None = None
        if config.engine.compile:
            self.compilation = Compilation(config, products, store.directory, inbox.wake)
        self._tell_backend()

    @property
    def wait_s(self) -> float:
        """Seconds that the loop may block on the sockets."""
        quiet_s = self.config.phases.quiet_ms / 1e3
        if self.inbox.urgent:
            return 0.0
        if self.recovery is not None:
            return quiet_s if self.recovery.waiting else 0.0
        if self._sleeping:
            return 0.0
        if not (self.inbox.samples and self._most) or self._held:
            # Other events, above all the journal's progress on disk, end the wait early.
            return quiet_s
        if self._filling_at is None:
            return 0.0
        return max(0.0, self._filling_at + self.config.engine.max_wait_ms / 1e3 - time.monotonic())

    def turn(self) -> None:
        """Take waiting work, sweep once, and reply; never wait for input.

        The first turns replay the journal: meanwhile queries are answered, and commands are refused until later.

        Raises
        ------
        JournalError
            If the journal is damaged, or does not continue the checkpoint.
        """
        self.alive_at = time.monotonic()
        try:
            self._take_up()
            if self.recovery is None:
                self._turn()
            else:
                self._catch_up(self.recovery)
        except BaseException as error:
            # Nothing may hide that learning has stopped: the process reports the failure and exits.
            self.failure = error
            if not isinstance(error, StateError):
                log.exception("the engine stopped")
            raise

    def close(self) -> None:
        """Save what is new, unless a turn failed or the replay is unfinished, and stop the disk threads.

        Raises
        ------
        StateError
            If saving fails.
        """
        try:
            if self.compilation is not None:
                self.compilation.close()
            if self.recovery is None and self.failure is None and self._saving.has_news:
                self._save().result()
        finally:
            self._keeper.close()
            self.journal.close()

    def _take_up(self) -> None:
        """Switch to the compiled loop as soon as it is ready."""
        if self.compilation is None or self.compilation.outcome is None:
            return
        self.learner.take_up(self.compilation.outcome)
        self.compilation = None
        self._tell_backend()

    def _tell_backend(self) -> None:
        backend = self.learner.backend
        if backend.reason:
            log.warning("sweeps run uncompiled, and slower: %s", backend.reason)
        else:
            log.info("sweeps run on %s", backend)

    def _catch_up(self, recovery: Recovery) -> None:
        """Replay the journal for some milliseconds and answer waiting queries, or finish the replay."""
        for _ in self._replaying:
            now = time.monotonic()
            if now - self._told_at > TELL_S:
                self._told_at = now
                waits = ", the next one waits for the compiler" if recovery.waiting else ""
                log.info("catching up: %d of %d records%s", recovery.done, recovery.total, waits)
            if recovery.waiting or now - self.alive_at >= REPLAY_S:
                break
        else:
            self._caught_up(recovery)
            return
        work = self.inbox.gather(0, self.config.engine.max_query_rows)
        if work.queries:
            self.outbox.put(self._serve(work, learns=False))
        for command in work.commands:
            command.reply.set_exception(CatchingUp("the journal is being replayed; try again"))

    def _caught_up(self, recovery: Recovery) -> None:
        self.recovery = None
        seconds = time.monotonic() - self._started_at
        if recovery.done:
            log.info("caught up: %d records in %.1f s", recovery.done, seconds)
        self.outbox.put(CaughtUp(recovery.feeders(), recovery.done, seconds))

    def _turn(self) -> None:
        quiet = self.inbox.samples == 0 and self.alive_at - self._sample_at > self.config.phases.quiet_ms / 1e3
        if (change := self.life.advance(quiet=quiet, minute=_minute_of_the_day())) is not None:
            learner = self.learner
            changed = Changed(learner.version, change, learner.pressure, learner.scheduler.debt)
            self.outbox.put(changed, urgent=self._due)
        work = self.inbox.gather(self._takes(), self.config.engine.max_query_rows)
        if self._sleeping or work.samples or work.queries:
            swept = self._serve(work, learns=self._learns(work))
            if urgent := bool(work.queries) or self._due:
                self._told_at = self.alive_at
            self.outbox.put(swept, urgent=urgent)
        for command in work.commands:
            self._obey(command)
        self._keep_up()

    def _learns(self, work: Work) -> bool:
        """Return True if this sweep learns.

        Awake, it learns if there are new samples. Asleep, it learns from memory and dreams, but yields to waiting
        queries: constant queries delay at most every other sleep step.
        """
        if not self._sleeping:
            return bool(work.samples)
        self._answers_alone = bool(work.queries) and not self._answers_alone
        return not self._answers_alone

    @property
    def _due(self) -> bool:
        """True if output should leave now; while samples keep coming, the output of several sweeps leaves together."""
        return self.alive_at - self._told_at > TOGETHER_S or self.inbox.samples < self.config.engine.max_batch

    @property
    def _held(self) -> bool:
        """True if learning pauses: on command, or because it is too far ahead of the disk.

        Records that are not on disk yet wait in memory, so their number is limited.
        """
        return self.learner.scheduler.holding or self.journal.behind > AHEAD

    @property
    def _sleeping(self) -> bool:
        return self.learner.asleep and not self._held

    def _takes(self) -> int:
        """Return how many samples this turn may take, after setting aside a sample that ended the daemon twice."""
        most = self.config.engine.max_batch
        if self.life.attempt.suspicious:
            if self.life.condemned(self.inbox.front()):
                self.outbox.put(self.life.set_aside(*self.inbox.take(1)))
            most = self.life.at_once(self.inbox.front(), most)
        self._most = most
        if self._sleeping or self._held:
            return 0
        if self.inbox.urgent:
            most = min(most, BESIDE_QUERIES)
        # Without queries or commands, samples wait briefly for a full batch.
        if not 0 < self.inbox.samples < most or self.inbox.urgent:
            self._filling_at = None
            return most
        self._filling_at = self._filling_at or self.alive_at
        if self.alive_at - self._filling_at < self.config.engine.max_wait_ms / 1e3:
            return 0
        self._filling_at = None
        return most

    def status(self) -> dict[str, Any]:
        """Return the learner's state; callable from any thread, with values at most one step apart."""
        learner = self.learner
        return {
            "version": learner.version,
            "phase": learner.scheduler.phase.value,
            "override": learner.scheduler.override.value,
            "holding": learner.scheduler.holding,
            "wake_steps": learner.phase_steps[Phase.WAKE],
            "sleep_steps": learner.phase_steps[Phase.SLEEP],
            "together_steps": learner.phase_steps[Phase.TOGETHER],
            "sham_steps": learner.scheduler.sham_steps,
            "pressure": learner.pressure,
            "debt": learner.scheduler.debt,
            "samples_learned": learner.samples_learned,
            "samples_waiting": self.inbox.samples,
            "prequential": learner.prequential.total,
            "memory_samples": len(learner.memory),
            "device": str(learner.device),
            "backend": asdict(learner.backend),
        }

    def _serve(self, work: Work, *, learns: bool) -> Swept:
        """Sweep once over the queries and, if it learns, over the samples or, asleep, over memory and dreams."""
        started, now = time.perf_counter(), time.monotonic()
        live = [query for query in work.queries if query.deadline > now]
        rows = [query.inputs for query in live]
        step = self.life.step(work.samples, rows) if learns else self.learner.answer(rows)
        if work.samples:
            self._sample_at = now
        return Swept(
            step,
            time.perf_counter() - started,
            self.progress.consume(work.samples),
            answers(step, live),
            expired=[query for query in work.queries if query.deadline <= now],
            catching_up=self.recovery is not None,
        )

    def _obey(self, command: Command) -> None:
        keeper, argument = self._keeper, command.argument
        match command.name:
            case (
                CommandName.SLEEP
                | CommandName.WAKE
                | CommandName.SHAM
                | CommandName.AUTO
                | CommandName.HOLD
                | CommandName.RESUME
            ):
                self.life.obey(command.name)
                reply_with(command, keeper.written(self.progress.lsn), lambda _: {})
            case CommandName.CHECKPOINT:
                reply_with(command, self._save(argument), lambda name: {"checkpoint": name})
            case CommandName.CHECKPOINTS:
                reply_with(command, keeper.listing(), dict)
            case CommandName.PIN:
                reply_with(command, keeper.pin(argument, pinned=True), dict)
            case CommandName.UNPIN:
                reply_with(command, keeper.pin(argument, pinned=False), dict)
            case CommandName.ROLLBACK:
                self._obey_rollback(command)
            case _:
                assert_never(command.name)

    def _obey_rollback(self, command: Command) -> None:
        """Have the checkpoint read while learning goes on; when the command comes back with it, roll back and save."""
        if command.snapshot is None:
            fetched = self._keeper.fetch(command.argument, self.learner.check)
            fetched.add_done_callback(lambda fetched: self._fetched(command, fetched))
            return
        rollback = self.life.roll_back(command.argument, command.snapshot)
        self.outbox.put(rollback)
        told = {"from_version": rollback.from_version, "to_version": rollback.to_version}
        reply_with(command, self._save(), lambda name: {"checkpoint": name, **told})

    def _fetched(self, command: Command, fetched: Future[Snapshot]) -> None:
        error = fetched.exception()
        if error is None:
            self.inbox.put_command(replace(command, snapshot=fetched.result()))
        else:
            command.reply.set_exception(error)

    def _keep_up(self) -> None:
        """Do what is due by the clock: report scores, save a checkpoint."""
        now = time.monotonic()
        if now - self._reported_at >= self.config.engine.report_ms / 1e3:
            self._reported_at = now
            for told in self._reporter.report(now, self._saving.unsaved_s(now)):
                self.outbox.put(told)
                if isinstance(told, Report):
                    self.report = told
        if self._saving.is_due(now):
            self._save()

    def _save(self, name: str = "") -> Future[str]:
        """Copy the state between two sweeps, and have the copy written."""
        saved = self._keeper.save(self.life.snapshot(), self.progress.lsn, name)
        self._saving.begin(saved)
        return saved


def _minute_of_the_day() -> int:
    now = time.localtime()
    return 60 * now.tm_hour + now.tm_min
