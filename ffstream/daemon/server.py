"""The server, the only user of the sockets for samples, queries and events.

It decodes and checks incoming messages, hands them to the engine's inbox, and sends what is in the outbox. It never
waits for a peer. It runs between sweeps, in the thread that runs them: in its own thread, it would compete for the
interpreter in the middle of a sweep, and each would delay the other.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import zmq

from ffstream import wire
from ffstream.config import ServerConfig
from ffstream.daemon.digest import Digest
from ffstream.daemon.events import REPLAY, EventLog, frames_of, phase_fields, prediction_fields, score_fields
from ffstream.daemon.intake import Intake
from ffstream.daemon.metrics import Metrics
from ffstream.daemon.sockets import Sockets
from ffstream.errors import WireError
from ffstream.stream.inbox import Inbox, QueryBatch
from ffstream.stream.journal import Journal
from ffstream.stream.outbox import CaughtUp, Changed, Dreamed, Outbox, Output, Report, Rollback, Saved, SetAside, Swept
from ffstream.wire import Frames, InputSpec

log = logging.getLogger(__name__)

# Seconds one socket is read before the other sockets and the engine's answers get their turn.
TURN_S = 0.0005
LATENCIES = 1_000


class Server:
    """Moves messages between sockets and engine.

    Parameters
    ----------
    config
        Limits of the server.
    spec
        Inputs and labels that the network takes.
    sockets
        Bound sockets; from now on only the server uses them, except for the control and HTTP sockets.
    step
        Number of samples that the engine takes at once while a query or a command is waiting.
    inbox, outbox
        Queues to and from the engine.
    journal
        Incoming samples are written to it.
    metrics
        Updated by the server.
    """

    def __init__(
        self,
        config: ServerConfig,
        spec: InputSpec,
        sockets: Sockets,
        step: int,
        inbox: Inbox,
        outbox: Outbox,
        journal: Journal,
        metrics: Metrics,
    ) -> None:
        self.config = config
        self.spec = spec
        self.sockets = sockets
        self.step = step
        self.inbox = inbox
        self.outbox = outbox
        self.metrics = metrics
        self.digest = Digest(metrics)
        self.events = EventLog(config.replay_events)
        self.intake = Intake(config, spec, sockets, inbox, journal, metrics, self._send)
        self._readers: dict[zmq.Socket[bytes], Callable[[list[bytes]], None]] = {
            sockets.queries: self._read_query,
            sockets.samples: self.intake.read_samples,
            sockets.push: self.intake.read_push,
            sockets.events: self._read_subscription,
        }
        self._poller = zmq.Poller()
        self._poller.register(sockets.wake.fileno(), zmq.POLLIN)
        for socket in self._readers:
            self._poller.register(socket, zmq.POLLIN)
        self._feeding = {sockets.samples, sockets.push}
        self._woken = False
        self._subscribed: set[bytes] = set()
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._sweeps: deque[float] = deque(maxlen=LATENCIES)

    def read(self, wait_s: float) -> None:
        """Read pending messages; if there are none, wait up to ``wait_s`` for one, or for another thread's wake-up."""
        wake = self.sockets.wake
        if wait_s and not wake.pending:
            self._poller.poll(math.ceil(wait_s * 1e3))
        if wake.pending:
            wake.clear()
            self._woken = True
        for socket, read in self._readers.items():
            # A waiting query or command must not be delayed by reading samples that the next sweep does not take.
            if not (socket in self._feeding and self.inbox.urgent and self.inbox.samples >= self.step):
                _read_some(socket, read)

    @property
    def has_news(self) -> bool:
        """True if there is something to send: engine output, or acknowledgements after the journal has advanced."""
        return self._woken or self.outbox.due

    def drain(self) -> None:
        """Send the engine's output so far, and acknowledgements for what the journal has written."""
        self._woken = False
        learned: dict[str, tuple[int, int]] = {}
        outputs = self.outbox.drain()
        # Answers first: the other output may span several sweeps.
        for output in outputs:
            if isinstance(output, Swept):
                self._answer(output)
                learned |= output.acknowledged
        for output in outputs:
            self._on_output(output)
        self.intake.acknowledge(learned)

    # --- queries ---

    def _read_query(self, frames: list[bytes]) -> None:
        peer, *body = frames
        now = time.monotonic()
        try:
            message = wire.decode(body, self.config.message_bytes)
            request = message.integer("id")
            if message.kind != "query":
                raise message.error("unknown_type", f"expected 'query', got {message.kind!r}", "type")
            inputs = message.inputs(self.spec)
            if len(inputs) > self.config.message_samples:
                limit = f"expected at most {self.config.message_samples} rows, got {len(inputs)}"
                raise message.error("too_large", limit, "inputs")
            deadline_ms = message.number("deadline_ms")
            deadline = float("inf") if deadline_ms is None else now + deadline_ms / 1e3
            if not self.inbox.put_query(QueryBatch((peer, request), inputs, now, deadline)):
                raise message.error("busy", "too many queries are waiting; try again")
        except WireError as error:
            self.metrics.rejected.labels("queries", error.code).inc()
            self.metrics.queries.labels("refused").inc()
            self._send(self.sockets.queries, [peer, *wire.encode_error(error, "id")])

    def _answer(self, swept: Swept) -> None:
        now = time.monotonic()
        for answer in swept.answers:
            peer, request = answer.query.token
            fields = {
                "id": request,
                "version": swept.step.version,
                "phase": swept.step.phase.value,
                "catching_up": swept.catching_up,
            }
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
            late = "the deadline passed before the query's turn came"
            error = WireError("deadline", late, "deadline_ms", {"id": request})
            self._send(self.sockets.queries, [peer, *wire.encode_error(error, "id")])

    # --- engine output ---

    def _on_output(self, output: Output) -> None:
        match output:
            case Swept():
                self._sweeps.append(output.seconds)
                self.metrics.on_swept(output)
                if output.answers or output.step.learned:
                    self._publish("prediction", prediction_fields(output))
            case CaughtUp():
                self.intake.open(output.feeders)
                self._publish("recovery", {"records": output.records, "seconds": output.seconds})
            case SetAside():
                self.metrics.quarantined.inc()
                self._publish("quarantine", vars(output))
            case Changed():
                self.metrics.on_changed(output)
                self._publish("phase", phase_fields(output))
            case Report():
                self.metrics.on_report(output)
                self.digest.on_report(output)
                self.intake.refresh_gauges()
                self._publish("score", score_fields(output, self._sweeps, self._latencies))
            case Dreamed():
                self._publish("dream", vars(output))
            case Saved():
                self.metrics.on_saved(output)
                self._publish("checkpoint", vars(output))
            case Rollback():
                self.metrics.rollbacks.inc()
                self._publish("rollback", {**vars(output), "phase": output.phase.value})

    # --- events ---

    def _publish(self, topic: str, fields: Mapping[str, Any]) -> None:
        self.metrics.events.labels(topic).inc()
        event, name = self.events.add(topic, fields), topic.encode()
        if any(name.startswith(prefix) for prefix in self._subscribed):
            self._send(self.sockets.events, frames_of(event, name))

    def _read_subscription(self, frames: list[bytes]) -> None:
        # XPUB reports the first subscription to a prefix (1) and the end of the last one (0).
        begins, prefix = frames[0][:1] == b"\x01", frames[0][1:]
        if begins and prefix.startswith(REPLAY):
            for event in self.events.replay(prefix):
                self._send(self.sockets.events, event)
        elif begins:
            self._subscribed.add(prefix)
        else:
            self._subscribed.discard(prefix)

    def _send(self, socket: zmq.Socket[bytes], frames: Frames) -> None:
        try:
            socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            # The peer is gone (EHOSTUNREACH) or does not read (EAGAIN): it will ask again, or needs no reply.
            self.metrics.lost.labels(self.sockets.name(socket)).inc()
            log.debug("a reply was lost: %s", error)


def _read_some(socket: zmq.Socket[bytes], read: Callable[[list[bytes]], None]) -> None:
    ends = time.monotonic() + TURN_S
    # Checked first: this runs in every turn, and an exception takes longer.
    while int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
        try:
            frames = socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            # XPUB drops the frames of a foreign multipart message, which is not a subscription.
            return
        read(frames)
        # Checked after a message, so that a turn reads one even if the thread itself had to wait.
        if time.monotonic() >= ends:
            return
