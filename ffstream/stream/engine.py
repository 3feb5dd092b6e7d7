"""The engine: gather, sweep, reply. The only owner of weights.

One thread runs ``Engine.run``. Everything that reaches it comes through the inbox, and everything that it says
leaves through the outbox; no other thread touches the learner. What it does it writes into the journal, and does not
wait for the disk: acknowledgements and checkpoints do.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ffstream import failpoints
from ffstream.config import Config
from ffstream.errors import CatchingUp, StateError
from ffstream.ff.layers import Phase
from ffstream.stream.attempt import Attempt
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.disk import flush
from ffstream.stream.inbox import Command, Inbox, QueryBatch, SampleBatch, Work
from ffstream.stream.journal import Journal
from ffstream.stream.keeper import Keeper, reply_with
from ffstream.stream.learner import Learner, Step
from ffstream.stream.outbox import Answer, CaughtUp, Changed, Outbox, Report, Rollback, SetAside, Swept
from ffstream.stream.progress import Progress
from ffstream.stream.records import Advanced, Commanded, Quarantined, RolledBack, Stepped
from ffstream.stream.recovery import Recovery
from ffstream.stream.snapshot import Snapshot

log = logging.getLogger(__name__)

# How long the outcome of a sweep that nobody waits for may be kept for company.
TOGETHER_S = 0.005
# How often the log tells how far a replay has come.
TELL_S = 2.0


class Engine:
    """Drives the learner with what the inbox brings.

    Parameters
    ----------
    config
        The whole configuration.
    store
        Where checkpoints go; the newest one that verifies is restored here.
    journal
        Replayed from there, and written to.
    inbox, outbox
        The two queues to the server.

    Attributes
    ----------
    progress
        How far learning has come in the journal, and with every feeder.
    recovery
        The replay, while it goes on.
    damaged
        Why each checkpoint that did not verify was set aside at the start.
    failure
        What ended the engine before it was asked to stop, or what kept it from saving.
    alive_at
        ``time.monotonic()`` of the last turn.

    Raises
    ------
    CheckpointError
        If the newest checkpoint is of another network than the configuration describes.
    """

    def __init__(self, config: Config, store: CheckpointStore, journal: Journal, inbox: Inbox, outbox: Outbox) -> None:
        self.config = config
        self.inbox = inbox
        self.outbox = outbox
        self.store = store
        self.journal = journal
        self.learner = Learner(config)
        self.progress = Progress(config.server.feeders)
        self.failure: BaseException | None = None
        snapshot, self.damaged = store.newest()
        if snapshot is not None:
            self.learner.restore(snapshot)
            self.progress.restore(snapshot.manifest["progress"])
        self.attempt = Attempt(store.directory / "attempt")
        self.recovery: Recovery | None = Recovery(self.learner, self.progress, inbox, journal, store)
        self.alive_at = self._told_at = self._sample_at = self._reported_at = self._saved_at = time.monotonic()
        self._saved_written = journal.written
        self._keeper = Keeper(store, journal, outbox)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Replay the journal, turn until stopped, then save."""
        # OpenMP counts threads by the thread that starts them, and the learner was made in another one.
        torch.set_num_threads(torch.get_num_threads())
        try:
            self.catch_up()
            while not self._stopping.is_set():
                self.turn()
            if self.recovery is None:
                self._save().result()
        except BaseException as error:
            # Nothing may hide that the weights stand still: the process reports the failure and ends.
            self.failure = error
            if not isinstance(error, StateError):
                log.exception("the engine stopped")
        finally:
            self._keeper.close()
            self.journal.close()

    def catch_up(self) -> None:
        """Replay the journal, and answer queries meanwhile; commands are told to come again.

        Raises
        ------
        JournalError
            If the journal is damaged, or does not continue the checkpoint.
        """
        recovery = self.recovery
        if recovery is None:
            return
        started = told = time.monotonic()
        for _ in recovery.steps():
            self.alive_at = time.monotonic()
            if self.alive_at - told > TELL_S:
                told = self.alive_at
                log.info("catching up: %d of %d records", recovery.done, recovery.total)
            work = self.inbox.gather(0, self.config.engine.max_query_rows, wait_s=0, fill_s=0)
            if work.queries:
                self.outbox.put(self._serve(work))
            for command in work.commands:
                command.reply.set_exception(CatchingUp("the journal is being replayed; try again"))
            if self._stopping.is_set():
                return
        seconds = time.monotonic() - started
        if recovery.done:
            log.info("caught up: %d records in %.1f s", recovery.done, seconds)
        self.recovery = None
        self.outbox.put(CaughtUp(recovery.feeders(), recovery.done, seconds))

    def stop(self) -> None:
        """Ask the engine to finish its step, save and return; callable from any thread."""
        self._stopping.set()
        self.inbox.put_command(Command("wake_up"))

    def turn(self) -> None:
        """Gather what waits, sweep once, reply; or wait a bounded time for something to come."""
        quiet_s = self.config.phases.quiet_ms / 1e3
        quiet = self.inbox.samples == 0 and time.monotonic() - self._sample_at > quiet_s
        self._advance(quiet=quiet)
        self._set_aside()
        asleep, held = self.learner.asleep, self.learner.scheduler.holding
        work = self.inbox.gather(
            0 if asleep or held else self._batch(),
            self.config.engine.max_query_rows,
            wait_s=0 if asleep else quiet_s,
            fill_s=self.config.engine.max_wait_ms / 1e3,
        )
        self.alive_at = time.monotonic()
        if asleep or work.samples or work.queries:
            swept = self._serve(work)
            # While samples keep coming, acknowledgements of some sweeps go out together.
            due = self.alive_at - self._told_at > TOGETHER_S or self.inbox.samples < self.config.engine.max_batch
            if urgent := bool(work.queries) or due:
                self._told_at = self.alive_at
            self.outbox.put(swept, urgent=urgent)
        for command in work.commands:
            self._obey(command)
        self._keep_up()

    def status(self) -> dict[str, Any]:
        """Return where the learner stands; readable from any thread, at worst one step apart."""
        learner = self.learner
        return {
            "version": learner.version,
            "phase": learner.scheduler.phase.value,
            "override": learner.scheduler.override.value,
            "holding": learner.scheduler.holding,
            "wake_steps": learner.phase_steps[Phase.WAKE],
            "sleep_steps": learner.phase_steps[Phase.SLEEP],
            "together_steps": learner.phase_steps[Phase.TOGETHER],
            "samples_learned": learner.samples_learned,
            "samples_waiting": self.inbox.samples,
            "prequential": learner.prequential.total,
            "memory_samples": len(learner.memory),
            "device": str(learner.device),
        }

    def _batch(self) -> int:
        """Return how many samples the next step may take: of those that may have ended the process one at a time.

        Such a one must be on disk first: if it ended the process unwritten, it would only be sent again.
        """
        if not self.attempt.suspicious:
            return self.config.engine.max_batch
        front = self.inbox.front()
        if front is not None and not self.attempt.suspects(front.place):
            return self.config.engine.max_batch
        return 1 if front is not None and front.lsn <= self.journal.durable else 0

    def _set_aside(self) -> None:
        """Pass over the sample next in line if it has ended the daemon twice."""
        if self.attempt.condemned is None:
            return
        front = self.inbox.front()
        if front is None or self.attempt.condemned != front.place:
            return
        batches = self.inbox.take(1)
        (sample,) = batches
        file = self.store.directory / f"quarantine-{sample.lsn}-{sample.offset}.npz"
        np.savez(file, inputs=sample.inputs, labels=sample.labels)
        flush(file)
        flush(file.parent)
        self.progress.consume(batches)
        self.progress.lsn = self.journal.append(Quarantined(sample.feeder, sample.epoch, sample.first))
        log.error("sample %d of feeder %r ended the daemon twice: set aside in %s", sample.first, sample.feeder, file)
        self.outbox.put(SetAside(sample.feeder, sample.epoch, sample.first, file.name))

    def _serve(self, work: Work) -> Swept:
        """Sweep once over queries and samples, or what memory gives asleep; over queries alone while catching up."""
        started, now = time.perf_counter(), time.monotonic()
        live = [query for query in work.queries if query.deadline > now]
        rows = [query.inputs for query in live]
        learns = bool(work.samples or self.learner.asleep) and self.recovery is None
        step = self._learn(work.samples, rows) if learns else self.learner.answer(rows)
        if work.samples:
            self._sample_at = now
        return Swept(
            step,
            time.perf_counter() - started,
            self.progress.consume(work.samples),
            _answers(step, live),
            expired=[query for query in work.queries if query.deadline <= now],
            catching_up=self.recovery is not None,
        )

    def _learn(self, samples: list[SampleBatch], queries: list[NDArray[Any]]) -> Step:
        """Make a learning step, noted before it begins and journaled when it has ended."""
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
        self.progress.lsn = self.journal.append(Stepped(step.version, count, sum(map(len, queries))))
        if samples:
            self.attempt.end()
        return step

    def _advance(self, *, quiet: bool) -> None:
        change = self.learner.advance(quiet=quiet)
        if change is not None:
            self.progress.lsn = self.journal.append(Advanced(quiet))
            self.outbox.put(Changed(self.learner.version, change))

    def _obey(self, command: Command) -> None:
        match command.name:
            case "sleep" | "wake" | "auto" | "hold" | "resume":
                self.learner.scheduler.obey(command.name)
                self.progress.lsn = self.journal.append(Commanded(command.name))
                command.reply.set_result({})
            case "checkpoint":
                reply_with(command, self._save(command.argument), lambda name: {"checkpoint": name})
            case "checkpoints" | "pin" | "unpin":
                self._keeper.obey(command)
            case "rollback":
                self._obey_rollback(command)

    def _obey_rollback(self, command: Command) -> None:
        """Have the checkpoint read while learning goes on; then, the command comes again, go back to it and save."""
        if command.snapshot is None:
            fetched = self._keeper.fetch(command.argument, self.learner.check)
            fetched.add_done_callback(lambda fetched: self._fetched(command, fetched))
            return
        rollback = self._roll_back(command.argument, command.snapshot)
        told = {"from_version": rollback.from_version, "to_version": rollback.to_version}
        reply_with(command, self._save(), lambda name: {"checkpoint": name, **told})

    def _fetched(self, command: Command, fetched: Future[Snapshot]) -> None:
        error = fetched.exception()
        if error is None:
            self.inbox.put_command(replace(command, snapshot=fetched.result()))
        else:
            command.reply.set_exception(error)

    def _roll_back(self, name: str, snapshot: Snapshot) -> Rollback:
        """Go back to a checkpoint. What feeders were told stays so: no sample is learned twice."""
        learner, undone = self.learner, self.learner.version
        learner.roll_back(snapshot)
        self.progress.lsn = self.journal.append(RolledBack(name, learner.version, undone))
        rollback = Rollback(name, undone, learner.version, learner.scheduler.phase)
        self.outbox.put(rollback)
        log.warning("rolled back to %s: from version %d to %d", name, undone, learner.version)
        return rollback

    def _keep_up(self) -> None:
        """Do what is due by the clock: report scores, save a checkpoint."""
        now = time.monotonic()
        if now - self._reported_at >= self.config.engine.report_ms / 1e3:
            self._reported_at = now
            self.outbox.put(self._report())
        state = self.config.state
        # The journal reaches back to the oldest checkpoint kept.
        share = state.journal_bytes // (state.keep + 1)
        if now - self._saved_at >= state.checkpoint_s or self.journal.written - self._saved_written > share:
            self._save()

    def _report(self) -> Report:
        learner = self.learner
        return Report(
            learner.version,
            learner.scheduler.phase,
            learner.samples_learned,
            learner.prequential.total,
            learner.prequential.windowed,
            learner.sign_scores(),
            weight_norm=[float(layer.weight.norm()) for layer in learner.network.layers],
            dead_units=learner.dead_units(),
        )

    def _save(self, name: str = "") -> Future[str]:
        """Copy the state between two sweeps, and have the copy written."""
        self._saved_at = time.monotonic()
        self._saved_written = self.journal.written
        snapshot = self.learner.snapshot({"progress": self.progress.state()})
        return self._keeper.save(snapshot, self.progress.lsn, name)


def _answers(step: Step, queries: list[QueryBatch]) -> list[Answer]:
    """Cut the scores of the query rows, which follow the learning rows, into one answer a query."""
    if not queries:
        return []
    after = step.learned + step.replayed
    labels = step.scores.labels()[after:].cpu().numpy()
    probabilities = step.scores.probabilities()[after:].cpu().numpy()
    goodness = step.scores.goodness.cpu().numpy()
    answers: list[Answer] = []
    row = 0
    for query in queries:
        part = slice(row, row + len(query.inputs))
        answers.append(Answer(query, labels[part], probabilities[part], goodness[part]))
        row = part.stop
    return answers
