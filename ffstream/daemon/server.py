"""The server: the only thread that touches the sockets for samples, queries and events.

It decodes and checks what comes, hands it to the engine's inbox, and sends what the outbox brings. It never waits
for the engine, and never for a peer.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import zmq

from ffstream import wire
from ffstream.config import ServerConfig
from ffstream.daemon.events import REPLAY, EventLog
from ffstream.daemon.feeders import Feeder, Feeders, Verdict
from ffstream.daemon.metrics import Metrics
from ffstream.daemon.sockets import Sockets
from ffstream.errors import WireError
from ffstream.stream.inbox import Inbox, QueryBatch, SampleBatch
from ffstream.stream.outbox import Changed, Outbox, Output, Report, Saved, Swept
from ffstream.wire import Frames, InputSpec, Message

log = logging.getLogger(__name__)

# Messages read from one socket before the others get their turn.
TURN_MESSAGES = 64
POLL_MS = 100
LATENCIES = 1_000


class Server:
    """Moves messages between sockets and engine.

    Parameters
    ----------
    config
        Bounds.
    spec
        What the network takes.
    sockets
        Bound; this thread alone uses them from now on, but for the control socket.
    inbox, outbox
        The two queues to the engine.
    feeders
        Who feeds, restored from the checkpoint.
    metrics
        Fed here.
    """

    def __init__(
        self,
        config: ServerConfig,
        spec: InputSpec,
        sockets: Sockets,
        inbox: Inbox,
        outbox: Outbox,
        feeders: Feeders,
        metrics: Metrics,
    ) -> None:
        self.config = config
        self.spec = spec
        self.sockets = sockets
        self.inbox = inbox
        self.outbox = outbox
        self.feeders = feeders
        self.metrics = metrics
        self.events = EventLog(config.replay_events)
        self.accepting = True
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._sweeps: deque[float] = deque(maxlen=LATENCIES)
        self._samples_kinds: dict[str, Callable[[bytes, Message], None]] = {
            "hello": self._on_hello,
            "samples": self._on_samples,
            "bye": self._on_bye,
        }

    def serve(self, stopped: Callable[[], bool]) -> None:
        """Serve until ``stopped``, looking at it at least every 100 ms."""
        readers = {
            self.sockets.queries: self._read_query,
            self.sockets.samples: self._read_samples,
            self.sockets.push: self._read_push,
            self.sockets.events: self._read_subscription,
        }
        poller = zmq.Poller()
        poller.register(self.sockets.wake.fileno(), zmq.POLLIN)
        for socket in readers:
            poller.register(socket, zmq.POLLIN)
        while not stopped():
            ready = dict(poller.poll(POLL_MS))
            if self.sockets.wake.fileno() in ready:
                self.sockets.wake.clear()
            self.drain()
            for socket, read in readers.items():
                if socket in ready:
                    _read_some(socket, read)

    def drain(self) -> None:
        """Send what the engine has said so far."""
        outputs = self.outbox.drain()
        for output in outputs:
            self._on_output(output)
        if outputs and self.accepting and self.inbox.samples < self.config.inbox_samples:
            for feeder in self.feeders.starved():
                feeder.refused = None
                self._send_marks(feeder, "resend", {"reason": "credit"})

    # --- samples, acknowledged ---

    def _read_samples(self, frames: list[bytes]) -> None:
        peer, *body = frames
        mark: dict[str, int] = {}
        try:
            message = wire.decode(body, self.config.message_bytes)
            mark = {name: value for name in ("first", "count") if type(value := message.fields.get(name)) is int}
            handle = self._samples_kinds.get(message.kind)
            if handle is None:
                known = ", ".join(self._samples_kinds)
                raise WireError("unknown_type", f"expected one of {known}, got {message.kind!r}", "type")
            handle(peer, message)
        except WireError as error:
            self.metrics.rejected.labels("samples", error.code).inc()
            self._send(self.sockets.samples, [peer, *wire.encode_error(error, mark)])

    def _on_hello(self, peer: bytes, message: Message) -> None:
        name, epoch, first = message.text("feeder"), message.integer("epoch"), message.integer("first")
        feeder = self.feeders.hello(name, epoch, first, peer, time.monotonic())
        network = {
            "shape": list(self.spec.shape),
            "labels": self.spec.labels,
            "message_samples": self.config.message_samples,
            "message_bytes": self.config.message_bytes,
        }
        self._send_marks(feeder, "welcome", network)

    def _on_samples(self, peer: bytes, message: Message) -> None:
        name, epoch = message.text("feeder"), message.integer("epoch")
        first, count = message.integer("first"), message.integer("count", low=1, high=self.config.message_samples)
        feeder = self.feeders.get(name, epoch)
        if feeder is None or feeder.peer != peer:
            raise WireError("unknown_feeder", "say hello on this connection first", "feeder")
        try:
            batch = self._batch(message, count)
        except WireError:
            self.feeders.skip(feeder, first, count)
            raise
        known = min(max(0, feeder.expected - first), count)
        size = batch.inputs[known:].nbytes
        verdict = self.feeders.judge(feeder, first, count, size, time.monotonic())
        room = self.inbox.samples + count - known <= self.config.inbox_samples
        match verdict:
            case Verdict.TAKE if self.accepting and room:
                _, fresh = batch.split(known)
                self.metrics.received.labels("acknowledged").inc(count - known)
                self.feeders.take(feeder, first + count, size)
                self.inbox.put_samples(SampleBatch(fresh.inputs, fresh.labels, name, epoch, first + known))
            case Verdict.DUPLICATE:
                self._send_marks(feeder, "ack")
            case _ if feeder.refused is None:
                feeder.refused = Verdict.GAP if verdict is Verdict.GAP else Verdict.NO_CREDIT
                self._send_marks(feeder, "resend", {"reason": feeder.refused.value})

    def _on_bye(self, _peer: bytes, message: Message) -> None:
        self.feeders.goodbye(message.text("feeder"), message.integer("epoch"))

    def _send_marks(self, feeder: Feeder, kind: str, more: Mapping[str, Any] | None = None) -> None:
        samples, size = self.feeders.credit(time.monotonic())
        marks = {
            "next": feeder.learned,
            "expect": feeder.expected,
            "credit_samples": samples if self.accepting else 0,
            "credit_bytes": size if self.accepting else 0,
        }
        self._send(self.sockets.samples, [feeder.peer, *wire.encode(kind, {**marks, **(more or {})})])

    # --- samples, fire and forget ---

    def _read_push(self, frames: list[bytes]) -> None:
        count = 1
        try:
            message = wire.decode(frames, self.config.message_bytes)
            if message.kind != "samples":
                raise WireError("unknown_type", f"expected 'samples', got {message.kind!r}", "type")
            count = message.integer("count", low=1, high=self.config.message_samples)
            batch = self._batch(message, count)
        except WireError as error:
            self.metrics.rejected.labels("push", error.code).inc()
            self.metrics.dropped.labels(error.code).inc(count)
            return
        self.metrics.received.labels("push").inc(count)
        if self.accepting and self._push_room(count, batch.inputs.nbytes):
            self.inbox.put_samples(batch)
        else:
            self.metrics.dropped.labels("inbox_full" if self.accepting else "stopping").inc(count)

    def _push_room(self, count: int, size: int) -> bool:
        """Whether pushed samples fit into their own share: the rest is promised to feeders as credit."""
        samples, nbytes = self.feeders.credit(time.monotonic())
        promised, promised_bytes = self.feeders.waiting()
        return (
            self.inbox.samples - promised + count <= samples
            and self.inbox.sample_bytes - promised_bytes + size <= nbytes
        )

    def _batch(self, message: Message, count: int) -> SampleBatch:
        inputs = message.inputs(self.spec)
        if len(inputs) != count:
            raise WireError("bad_shape", f"count says {count} samples, got {len(inputs)}", "inputs")
        return SampleBatch(inputs, message.labels(count, self.spec))

    # --- queries ---

    def _read_query(self, frames: list[bytes]) -> None:
        peer, *body = frames
        now = time.monotonic()
        request = 0
        try:
            message = wire.decode(body, self.config.message_bytes)
            request = message.integer("id")
            if message.kind != "query":
                raise WireError("unknown_type", f"expected 'query', got {message.kind!r}", "type")
            inputs = message.inputs(self.spec)
            if len(inputs) > self.config.message_samples:
                limit = f"expected at most {self.config.message_samples} rows, got {len(inputs)}"
                raise WireError("too_large", limit, "inputs")
            deadline_ms = message.number("deadline_ms")
            deadline = float("inf") if deadline_ms is None else now + deadline_ms / 1e3
            if not self.inbox.put_query(QueryBatch((peer, request), inputs, now, deadline)):
                raise WireError("busy", "too many queries wait; try again")
        except WireError as error:
            self.metrics.rejected.labels("queries", error.code).inc()
            self.metrics.queries.labels("refused").inc()
            self._send(self.sockets.queries, [peer, *wire.encode_error(error, {"id": request})])

    def _answer(self, swept: Swept) -> None:
        now = time.monotonic()
        for answer in swept.answers:
            peer, request = answer.query.token
            fields = {"id": request, "version": swept.step.version, "phase": swept.step.phase.value}
            tensors: dict[str, wire.Array] = {
                "labels": answer.labels,
                "probabilities": answer.probabilities,
                "goodness": answer.goodness,
            }
            self._send(self.sockets.queries, [peer, *wire.encode("answer", fields, tensors)])
            self._latencies.append(now - answer.query.received)
            self.metrics.query_seconds.observe(now - answer.query.received)
        for query in swept.expired:
            peer, request = query.token
            error = WireError("deadline", "the deadline passed before the query's turn came", "deadline_ms")
            self._send(self.sockets.queries, [peer, *wire.encode_error(error, {"id": request})])

    # --- what the engine says ---

    def _on_output(self, output: Output) -> None:
        match output:
            case Swept():
                self._sweeps.append(output.seconds)
                self._answer(output)
                for name, (epoch, upto) in output.acknowledged.items():
                    feeder = self.feeders.advance(name, epoch, upto)
                    if feeder is not None:
                        self._send_marks(feeder, "ack")
                self.metrics.on_swept(output)
                if output.answers or output.step.learned:
                    self._publish("prediction", _prediction_event(output))
            case Changed():
                change = output.change
                self.metrics.on_changed(output)
                fields = {"phase": change.phase.value, "previous": change.previous.value, "reason": change.reason}
                self._publish("phase", {"version": output.version, **fields})
            case Report():
                self.metrics.on_report(output)
                self._refresh_gauges()
                self._publish("score", _score_event(output, self._sweeps, self._latencies))
            case Saved():
                self.metrics.on_saved(output)
                self._publish("checkpoint", {"name": output.name, "error": output.error})

    def _refresh_gauges(self) -> None:
        now = time.monotonic()
        self.metrics.inbox.set(self.inbox.samples)
        self.metrics.inbox_bytes.set(self.inbox.sample_bytes)
        self.metrics.credit.set(self.feeders.credit(now)[0] if self.accepting else 0)
        self.metrics.feeders.set(self.feeders.active(now))

    # --- events ---

    def _publish(self, topic: str, fields: Mapping[str, Any]) -> None:
        self.metrics.events.labels(topic).inc()
        self._send(self.sockets.events, self.events.add(topic, fields))

    def _read_subscription(self, frames: list[bytes]) -> None:
        subscription = frames[0]
        if subscription[:1] == b"\x01" and subscription[1:].startswith(REPLAY):
            for event in self.events.replay(subscription[1:]):
                self._send(self.sockets.events, event)

    def _send(self, socket: zmq.Socket[bytes], frames: Frames) -> None:
        try:
            socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The peer is gone (EHOSTUNREACH) or does not read (EAGAIN): it will ask again, or nobody will.
            self.metrics.lost.labels(self.sockets.name(socket)).inc()
            log.debug("a reply was lost: %s", error)


def _read_some(socket: zmq.Socket[bytes], read: Callable[[list[bytes]], None]) -> None:
    for _ in range(TURN_MESSAGES):
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return
        read(frames)


def _prediction_event(swept: Swept) -> dict[str, Any]:
    step = swept.step
    return {
        "version": step.version,
        "phase": step.phase.value,
        "labels": step.labels.tolist(),
        "predicted": step.predicted.tolist(),
        "answered": [label for answer in swept.answers for label in answer.labels.tolist()],
    }


def _score_event(report: Report, sweeps: deque[float], latencies: deque[float]) -> dict[str, Any]:
    return {
        "version": report.version,
        "phase": report.phase.value,
        "samples_learned": report.samples_learned,
        "prequential": report.prequential,
        "prequential_window": report.prequential_window,
        "goodness": {sign: scores.goodness for sign, scores in report.signs.items()},
        "probability_of_real": {sign: scores.probability_of_real for sign, scores in report.signs.items()},
        "weight_norm": report.weight_norm,
        "dead_units": report.dead_units,
        "sweep_ms": _quantiles_ms(sweeps),
        "query_ms": _quantiles_ms(latencies),
    }


def _quantiles_ms(seconds: deque[float]) -> list[float]:
    """Return the median and the 99th percentile in milliseconds, or nothing where nothing was measured."""
    return [float(value) * 1e3 for value in np.quantile(seconds, (0.5, 0.99))] if seconds else []
