"""Prometheus metrics: names, buckets, and how each is updated. Base units, bounded labels."""

from __future__ import annotations

import math
import platform
from typing import TypeVar

import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

from ffstream import __version__
from ffstream.daemon.feeders import Level
from ffstream.ff.lesson import Phase
from ffstream.stream.outbox import Changed, Report, Saved, Swept
from ffstream.stream.phases import REASONS, Override
from ffstream.wire import UNLABELLED

SECONDS = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3, 500e-3, 1.0, 5.0)
ROWS = tuple(2.0**power for power in range(11))

_M = TypeVar("_M", bound=MetricWrapperBase)


class Metrics:
    """All metrics of the daemon, in their own registry."""

    def __init__(self) -> None:
        # Omit each counter's creation time: it triples the page, and Prometheus does not use it.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # has no annotations
        self.registry = CollectorRegistry()
        build = self._add(Gauge, "build_info", "Constant 1, labeled with versions.", "version", "python", "torch")
        build.labels(__version__, platform.python_version(), str(torch.__version__)).set(1)
        sweeps = "device", "precision", "threads", "loop"
        self.backend = self._add(Gauge, "backend_info", "Constant 1, labeled with what sweeps run on.", *sweeps)
        self._backend: tuple[object, ...] = ()
        self._declare_samples()
        self._declare_sleep()
        self._declare_learning()
        self._declare_state()
        self.events = self._add(Counter, "events", "Events published, by topic.", "topic")
        self._begin_at_zero()

    def _declare_samples(self) -> None:
        """Declare the metrics of samples, queries and the sweeps that carry both."""
        self.received = self._add(Counter, "samples_received", "Samples received, by channel.", "channel")
        self.learned = self._add(Counter, "samples_learned", "Samples learned.")
        self.unlabelled = self._add(Counter, "samples_unlabelled", "Learned samples that had no label.")
        self.dropped = self._add(Counter, "samples_dropped", "Pushed samples dropped, by reason.", "reason")
        self.rejected = self._add(
            Counter, "messages_rejected", "Messages refused with an error, by socket and code.", "socket", "code"
        )
        self.lost = self._add(
            Counter, "replies_lost", "Replies lost because the receiver was gone or did not read, by socket.", "socket"
        )
        self.inbox = self._add(Gauge, "inbox_samples", "Samples waiting to be learned.")
        self.inbox_bytes = self._add(Gauge, "inbox_bytes", "Bytes of samples waiting to be learned.")
        self.credit = self._add(Gauge, "credit_samples", "Maximum unacknowledged samples per feeder.")
        self.feeders = self._add(Gauge, "feeders", "Feeders heard from in the last minute, or with samples waiting.")
        self.feeder_connections = self._add(
            Counter, "feeder_connections", "Connections on which a feeder said hello, by acknowledgment mode.", "ack"
        )
        self.queries = self._add(Counter, "queries", "Queries, by outcome.", "outcome")
        self.query_seconds = self._histogram("query_seconds", "Time from reading a query to its answer.", SECONDS)
        self.sweep_seconds = self._histogram("sweep_seconds", "Duration of a sweep.", SECONDS)
        self.sweep_rows = self._histogram("sweep_rows", "Rows per sweep, by kind.", ROWS, "kind")
        # Looked up once, because every sweep uses them.
        self._rows = {kind: self.sweep_rows.labels(kind) for kind in ("learned", "replayed", "dreamed", "query")}
        self._queries = {outcome: self.queries.labels(outcome) for outcome in ("answered", "expired")}

    def _declare_sleep(self) -> None:
        """Declare the metrics of phases and of the need for sleep."""
        self.phase = self._add(Gauge, "phase", "1 for the current phase, 0 for the others.", "phase")
        self.phase_steps = self._add(Counter, "phase_steps", "Learning steps, by phase.", "phase")
        self.sham_steps = self._add(
            Counter, "sham_steps", "Sleep steps that changed nothing; phase_steps counts them too."
        )
        self.override = self._add(
            Gauge, "override", "1 for the override in force (auto: the schedule decides), 0 for the others.", "override"
        )
        self.holding = self._add(Gauge, "holding", "1 while learning is held by command, otherwise 0.")
        self.pressure = self._add(Gauge, "sleep_pressure", "Share of the error that only sleep can reduce (0…1).")
        self.debt = self._add(Gauge, "sleep_debt_steps", "Sleep steps owed.")
        self.phase_changes = self._add(
            Counter, "phase_changes", "Phases begun, by phase and reason.", "phase", "reason"
        )
        # Looked up once, because every sweep uses them.
        self._steps = {phase: self.phase_steps.labels(phase.value) for phase in Phase}

    def _declare_learning(self) -> None:
        """Declare the metrics of the layers and of accuracy."""
        self.goodness = self._add(
            Gauge, "goodness", "Mean goodness in the last step, by layer and sign.", "layer", "sign"
        )
        self.real = self._add(
            Gauge,
            "probability_of_real",
            "Mean probability of being real in the last step, by layer and sign.",
            "layer",
            "sign",
        )
        self.prequential = self._add(
            Gauge, "prequential_accuracy", "Test-then-train accuracy (0…1), in total and over a window.", "over"
        )
        self.weight_norm = self._add(Gauge, "weight_norm", "Frobenius norm of the weights, by layer.", "layer")
        self.dead_units = self._add(
            Gauge,
            "dead_units",
            "Units that no probe row (a remembered sample, else a dream) activates, by layer.",
            "layer",
        )
        self.not_finite = self._add(Gauge, "layers_not_finite", "Layers whose weights or goodness are NaN or infinite.")
        self.version = self._add(Gauge, "model_version", "Number of learning steps behind the weights.")

    def _declare_state(self) -> None:
        """Declare the metrics of checkpoints and the journal."""
        self.checkpoints = self._add(Counter, "checkpoints", "Checkpoints, by outcome.", "outcome")
        self.rollbacks = self._add(Counter, "rollbacks", "Rollbacks to a checkpoint.")
        self.checkpoint_time = self._add(Gauge, "checkpoint_timestamp_seconds", "Unix time of the last checkpoint.")
        self.unsaved = self._add(
            Gauge,
            "unsaved_seconds",
            "Seconds for which there has been a change that no checkpoint holds; 0 if there is none.",
        )
        self.quarantined = self._add(
            Counter, "samples_quarantined", "Samples quarantined because they ended the daemon."
        )
        self.journal_bytes = self._add(Gauge, "journal_bytes", "Size of the journal on disk.")
        self.journal_stalled = self._add(
            Gauge,
            "journal_stalled",
            "1 while no samples are accepted because the disk or the journal is full, otherwise 0.",
        )
        self.undurable = self._add(Gauge, "samples_undurable", "Messages of samples received but not yet on disk.")

    def _begin_at_zero(self) -> None:
        """Create the counters of all known labels at 0: Prometheus sees no increase in a counter that starts at 1."""
        for counter, labels in (
            (self.dropped, ("inbox_full", "no_disk", "catching_up", "stopping")),
            (self.feeder_connections, tuple(Level)),
            (self.queries, ("answered", "expired", "refused")),
            (self.checkpoints, ("saved", "failed", "damaged")),
        ):
            for label in labels:
                counter.labels(label)
        for phase, reasons in REASONS.items():
            for reason in reasons:
                self.phase_changes.labels(phase.value, reason)

    def on_swept(self, swept: Swept) -> None:
        """Count one sweep."""
        step = swept.step
        rows = {
            "learned": step.learned,
            "replayed": step.replayed,
            "dreamed": step.dreamed,
            "query": sum(len(answer.labels) for answer in swept.answers),
        }
        for kind, count in rows.items():
            if count:
                self._rows[kind].observe(count)
        self.sweep_seconds.observe(swept.seconds)
        if step.learned or step.replayed or step.dreamed:
            self._steps[step.phase].inc()
        if step.sham:
            self.sham_steps.inc()
        if step.learned:
            self.learned.inc(step.learned)
            self.unlabelled.inc(int((step.labels == UNLABELLED).sum()))
        if swept.answers:
            self._queries["answered"].inc(len(swept.answers))
        if swept.expired:
            self._queries["expired"].inc(len(swept.expired))

    def on_changed(self, changed: Changed) -> None:
        """Count a phase that began."""
        self.phase_changes.labels(changed.change.phase.value, changed.change.reason).inc()

    def on_report(self, report: Report) -> None:
        """Refresh the gauges."""
        backend = report.backend
        labels = backend.device, backend.precision, backend.threads, backend.loop
        # Only on a change: a scrape between ``clear`` and ``set`` would find no value.
        if labels != self._backend:
            self._backend = labels
            self.backend.clear()
            self.backend.labels(*labels).set(1)
        for phase in Phase:
            self.phase.labels(phase.value).set(report.phase is phase)
        for override in Override:
            self.override.labels(override.value).set(report.override is override)
        self.holding.set(report.holding)
        self.pressure.set(report.pressure)
        self.debt.set(report.debt)
        self.version.set(report.version)
        self.unsaved.set(report.unsaved_s)
        self.not_finite.set(len(report.not_finite))
        for over, accuracy in (("total", report.prequential), ("window", report.prequential_window)):
            if not math.isnan(accuracy):
                self.prequential.labels(over).set(accuracy)
        for sign, scores in report.signs.items():
            for layer, (goodness, real) in enumerate(
                zip(scores.goodness, scores.probability_of_real, strict=True), start=1
            ):
                self.goodness.labels(layer, sign).set(goodness)
                self.real.labels(layer, sign).set(real)
        for layer, (norm, dead) in enumerate(zip(report.weight_norm, report.dead_units, strict=True), start=1):
            self.weight_norm.labels(layer).set(norm)
            self.dead_units.labels(layer).set(dead)

    def on_saved(self, saved: Saved) -> None:
        """Count a checkpoint, written or failed."""
        self.checkpoints.labels("failed" if saved.error else "saved").inc()
        if not saved.error:
            self.checkpoint_time.set_to_current_time()

    def _add(self, kind: type[_M], name: str, text: str, *labels: str) -> _M:
        return kind(name, text, labels, namespace="ffstream", registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, namespace="ffstream", registry=self.registry, buckets=buckets)
