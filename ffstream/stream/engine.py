"""The engine: gather, sweep, reply. The only owner of weights.

One thread runs ``Engine.run``. Everything that reaches it comes through the inbox, and everything that it says
leaves through the outbox; no other thread touches the learner.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from ffstream.config import Config
from ffstream.errors import StateError
from ffstream.ff.layers import Phase
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.inbox import Command, Inbox, QueryBatch, SampleBatch, Work
from ffstream.stream.learner import Learner, Step
from ffstream.stream.outbox import Answer, Changed, Outbox, Report, Saved, Swept
from ffstream.stream.phases import Override

log = logging.getLogger(__name__)

# How long the outcome of a sweep that nobody waits for may be kept for company.
TOGETHER_S = 0.005


class Engine:
    """Drives the learner with what the inbox brings.

    Parameters
    ----------
    config
        The whole configuration.
    store
        Where checkpoints go; the newest one that verifies is restored here.
    inbox, outbox
        The two queues to the server.

    Attributes
    ----------
    learned
        Feeder to (epoch, next): every sample of it below ``next`` is learned.
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

    def __init__(self, config: Config, store: CheckpointStore, inbox: Inbox, outbox: Outbox) -> None:
        self.config = config
        self.inbox = inbox
        self.outbox = outbox
        self.store = store
        self.learner = Learner(config)
        self.learned: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self.failure: BaseException | None = None
        snapshot, self.damaged = store.newest()
        if snapshot is not None:
            self.learner.restore(snapshot)
            self.learned |= {feeder: (epoch, upto) for feeder, (epoch, upto) in snapshot.manifest["feeders"].items()}
        self.alive_at = self._told_at = self._sample_at = self._reported_at = self._saved_at = time.monotonic()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._stopping = threading.Event()

    def run(self) -> None:
        """Turn until stopped, then save. What still waits in the inbox was never acknowledged."""
        # OpenMP counts threads by the thread that starts them, and the learner was made in another one.
        torch.set_num_threads(torch.get_num_threads())
        try:
            while not self._stopping.is_set():
                self.turn()
            self._save().result()
        except BaseException as error:
            # Nothing may hide that the weights stand still: the process reports the failure and ends.
            self.failure = error
            if not isinstance(error, StateError):
                log.exception("the engine stopped")
        finally:
            self._writer.shutdown()

    def stop(self) -> None:
        """Ask the engine to finish its step, save and return; callable from any thread."""
        self._stopping.set()
        self.inbox.put_command(Command("wake_up"))

    def turn(self) -> None:
        """Gather what waits, sweep once, reply; or wait a bounded time for something to come."""
        quiet_s = self.config.phases.quiet_ms / 1e3
        quiet = self.inbox.samples == 0 and time.monotonic() - self._sample_at > quiet_s
        change = self.learner.advance(quiet=quiet)
        if change is not None:
            self.outbox.put(Changed(self.learner.version, change))
        asleep, held = self.learner.asleep, self.learner.scheduler.holding
        work = self.inbox.gather(
            0 if asleep or held else self.config.engine.max_batch,
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

    def _serve(self, work: Work) -> Swept:
        started, now = time.perf_counter(), time.monotonic()
        live = [query for query in work.queries if query.deadline > now]
        labels = [batch.labels.astype(np.int64) for batch in work.samples]
        step = self.learner.step(
            [batch.inputs for batch in work.samples],
            np.concatenate([np.empty(0, np.int64), *labels]),
            [query.inputs for query in live],
        )
        if work.samples:
            self._sample_at = now
        return Swept(
            step,
            time.perf_counter() - started,
            self._acknowledge(work.samples),
            _answers(step, live),
            expired=[query for query in work.queries if query.deadline <= now],
        )

    def _acknowledge(self, samples: list[SampleBatch]) -> dict[str, tuple[int, int]]:
        acknowledged = {
            batch.feeder: (batch.epoch, batch.first + len(batch.labels)) for batch in samples if batch.feeder
        }
        for feeder, upto in acknowledged.items():
            self.learned[feeder] = upto
            self.learned.move_to_end(feeder)
        while len(self.learned) > self.config.server.feeders:
            self.learned.popitem(last=False)
        return acknowledged

    def _obey(self, command: Command) -> None:
        match command.name:
            case "sleep" | "wake" | "auto":
                self.learner.scheduler.override = Override(command.name)
            case "hold" | "resume":
                self.learner.scheduler.holding = command.name == "hold"
            case "checkpoint":
                self._save().add_done_callback(lambda saved: _forward(saved, command.reply))
                return
        command.reply.set_result({})

    def _keep_up(self) -> None:
        """Do what is due by the clock: report scores, save a checkpoint."""
        now = time.monotonic()
        if now - self._reported_at >= self.config.engine.report_ms / 1e3:
            self._reported_at = now
            self.outbox.put(self._report())
        if now - self._saved_at >= self.config.state.checkpoint_s:
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

    def _save(self) -> Future[str]:
        """Copy the state between two sweeps, and write the copy in a thread of its own."""
        self._saved_at = time.monotonic()
        snapshot = self.learner.snapshot({"feeders": {name: list(upto) for name, upto in self.learned.items()}})
        saved = self._writer.submit(self.store.save, snapshot)
        saved.add_done_callback(self._announce)
        return saved

    def _announce(self, saved: Future[str]) -> None:
        error = saved.exception()
        if error is None:
            self.outbox.put(Saved(name=saved.result()))
        else:
            log.error("checkpoint: %s", error)
            self.outbox.put(Saved(error=str(error)))


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


def _forward(saved: Future[str], reply: Future[dict[str, Any]]) -> None:
    error = saved.exception()
    if error is None:
        reply.set_result({"checkpoint": saved.result()})
    else:
        reply.set_exception(error)
