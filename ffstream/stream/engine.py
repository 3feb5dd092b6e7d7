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

from ffstream.config import Config
from ffstream.errors import CatchingUp, StateError
from ffstream.ff.lesson import Phase
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.inbox import Command, Inbox, Work
from ffstream.stream.journal import Journal
from ffstream.stream.journaled import JournaledLearner
from ffstream.stream.keeper import Keeper, reply_with
from ffstream.stream.learner import Learner
from ffstream.stream.outbox import CaughtUp, Changed, Dreamed, Outbox, Report, Swept, answers
from ffstream.stream.progress import Progress
from ffstream.stream.recovery import Recovery
from ffstream.stream.snapshot import Snapshot
from ffstream.wire import UNLABELLED

log = logging.getLogger(__name__)

# How long the outcome of a sweep that nobody waits for may be kept for company.
TOGETHER_S = 0.005
# Records of the journal that learning may be ahead of the disk.
AHEAD = 16_384
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
    learner, progress
        What learns, and how far it has come in the journal and with every feeder.
    life
        Changes them, and writes down what it did.
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
        self.life = JournaledLearner(self.learner, self.progress, journal, store.directory)
        self.recovery: Recovery | None = Recovery(self.learner, self.progress, inbox, journal, store)
        self.alive_at = self._told_at = self._sample_at = self._reported_at = self._saved_at = time.monotonic()
        self._saved_written = journal.written
        self._dreamed = 0
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
                self.outbox.put(self._serve(work, learns=False))
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
        if (change := self.life.advance(quiet=quiet, minute=_minute_of_the_day())) is not None:
            learner = self.learner
            self.outbox.put(Changed(learner.version, change, learner.pressure, learner.scheduler.debt))
        most = self.config.engine.max_batch
        if self.life.attempt.suspicious:
            if self.life.condemned(self.inbox.front()):
                self.outbox.put(self.life.set_aside(*self.inbox.take(1)))
            most = self.life.at_once(self.inbox.front(), most)
        # Learning may run ahead of the disk, but not out of sight: what is ahead waits in memory.
        held = self.learner.scheduler.holding or self.journal.behind > AHEAD
        asleep = self.learner.asleep and not held
        work = self.inbox.gather(
            0 if asleep or held else most,
            self.config.engine.max_query_rows,
            wait_s=0 if asleep else quiet_s,
            fill_s=self.config.engine.max_wait_ms / 1e3,
        )
        self.alive_at = time.monotonic()
        if asleep or work.samples or work.queries:
            swept = self._serve(work, learns=asleep or bool(work.samples))
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
            "sham_steps": learner.scheduler.sham_steps,
            "pressure": learner.pressure,
            "debt": learner.scheduler.debt,
            "samples_learned": learner.samples_learned,
            "samples_waiting": self.inbox.samples,
            "prequential": learner.prequential.total,
            "memory_samples": len(learner.memory),
            "device": str(learner.device),
        }

    def _serve(self, work: Work, *, learns: bool) -> Swept:
        """Sweep once over queries, and if it learns over samples, or asleep over what memory and dreams give."""
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
        match command.name:
            case "sleep" | "wake" | "sham" | "auto" | "hold" | "resume":
                self.life.obey(command.name)
                reply_with(command, self._keeper.written(self.progress.lsn), lambda _: {})
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
            self.outbox.put(self._report())
            if (dreamed := self._dream()) is not None:
                self.outbox.put(dreamed)
        state = self.config.state
        # The journal reaches back to the oldest checkpoint kept.
        share = state.journal_bytes // (state.keep + 1)
        if now - self._saved_at >= state.checkpoint_s or self.journal.written - self._saved_written > share:
            self._save()

    def _report(self) -> Report:
        learner, scheduler = self.learner, self.learner.scheduler
        learner.feel_pressure()
        return Report(
            learner.version,
            scheduler.phase,
            scheduler.override,
            learner.pressure,
            scheduler.debt,
            learner.samples_learned,
            learner.prequential.total,
            learner.prequential.windowed,
            learner.sign_scores(),
            weight_norm=learner.weight_norms(),
            dead_units=learner.dead_units(),
        )

    def _dream(self) -> Dreamed | None:
        """Dream once to be looked at, of the labels that were seen in turn, or not where there are no dreams yet."""
        learner, dreams = self.learner, self.learner.network.dreams
        if dreams is None or not dreams.ripe:
            return None
        known = dreams.known()
        label = known[self._dreamed % len(known)]
        self._dreamed += 1
        images, scores = learner.dream(np.array([label]))
        return Dreamed(
            learner.version,
            UNLABELLED if learner.config.network.coding == "none" else label,
            int(scores.labels()[0]),
            scores.goodness[0, :, label].tolist(),
            images[0].reshape(learner.config.network.shape),
        )

    def _save(self, name: str = "") -> Future[str]:
        """Copy the state between two sweeps, and have the copy written."""
        self._saved_at = time.monotonic()
        self._saved_written = self.journal.written
        return self._keeper.save(self.life.snapshot(), self.progress.lsn, name)


def _minute_of_the_day() -> int:
    now = time.localtime()
    return 60 * now.tm_hour + now.tm_min
