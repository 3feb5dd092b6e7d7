"""Taking samples in: acknowledged ones under credit, and pushed ones as far as there is room."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import zmq

from ffstream import wire
from ffstream.config import ServerConfig
from ffstream.daemon.feeders import Feeder, Feeders, Verdict
from ffstream.daemon.metrics import Metrics
from ffstream.daemon.sockets import Sockets
from ffstream.errors import WireError
from ffstream.stream.inbox import Inbox, SampleBatch
from ffstream.wire import Frames, InputSpec, Message


class Intake:
    """Decodes and judges samples, and puts them into the inbox.

    Parameters
    ----------
    config
        Bounds.
    spec
        What the network takes.
    sockets
        The samples socket is answered on.
    inbox
        Where samples go.
    feeders
        Who feeds, restored from the checkpoint.
    metrics
        What was received, rejected and dropped is counted here.
    send
        Sends frames on a socket without waiting.
    """

    def __init__(
        self,
        config: ServerConfig,
        spec: InputSpec,
        sockets: Sockets,
        inbox: Inbox,
        feeders: Feeders,
        metrics: Metrics,
        send: Callable[[zmq.Socket[bytes], Frames], None],
    ) -> None:
        self.accepting = True
        self._config = config
        self._spec = spec
        self._sockets = sockets
        self._inbox = inbox
        self._feeders = feeders
        self._metrics = metrics
        self._send = send
        self._kinds: dict[str, Callable[[bytes, Message], None]] = {
            "hello": self._on_hello,
            "samples": self._on_samples,
            "bye": self._on_bye,
        }

    def read_samples(self, frames: list[bytes]) -> None:
        """Take a message from the samples socket; answer it, or refuse it with an error."""
        peer, *body = frames
        try:
            message = wire.decode(body, self._config.message_bytes)
            handle = self._kinds.get(message.kind)
            if handle is None:
                known = ", ".join(self._kinds)
                raise message.error("unknown_type", f"expected one of {known}, got {message.kind!r}", "type")
            handle(peer, message)
        except WireError as error:
            self._refuse(peer, error)

    def read_push(self, frames: list[bytes]) -> None:
        """Take a message from the push socket, or drop it and count why."""
        count = 1
        try:
            message = wire.decode(frames, self._config.message_bytes)
            if message.kind != "samples":
                raise message.error("unknown_type", f"expected 'samples', got {message.kind!r}", "type")
            count = message.integer("count", low=1, high=self._config.message_samples)
            batch = self._batch(message, count)
        except WireError as error:
            self._metrics.rejected.labels("push", error.code).inc()
            self._metrics.dropped.labels(error.code).inc(count)
            return
        self._metrics.received.labels("push").inc(count)
        if self.accepting and self._push_room(count, batch.inputs.nbytes):
            self._inbox.put_samples(batch)
        else:
            self._metrics.dropped.labels("inbox_full" if self.accepting else "stopping").inc(count)

    def acknowledge(self, learned: Mapping[str, tuple[int, int]]) -> None:
        """Tell feeders how far their samples are learned; feeder to (epoch, next)."""
        for name, (epoch, upto) in learned.items():
            feeder = self._feeders.advance(name, epoch, upto)
            if feeder is not None:
                self._send_marks(feeder, "ack")

    def resume(self) -> None:
        """Tell the feeders that were refused for want of credit, once there is room again, to go on."""
        if self.accepting and self._room(1, 0):
            for feeder in self._feeders.starved():
                feeder.refused = None
                self._send_marks(feeder, "resend", {"reason": "credit"})

    def refresh_gauges(self) -> None:
        """Show what waits, and what may still come."""
        now = time.monotonic()
        self._metrics.inbox.set(self._inbox.samples)
        self._metrics.inbox_bytes.set(self._inbox.sample_bytes)
        self._metrics.credit.set(self._feeders.credit(now)[0] if self.accepting else 0)
        self._metrics.feeders.set(self._feeders.active(now))

    def _on_hello(self, peer: bytes, message: Message) -> None:
        name, epoch, first = message.text("feeder"), message.integer("epoch"), message.integer("first")
        feeder = self._feeders.hello(name, epoch, first, peer, time.monotonic())
        network = {
            "shape": list(self._spec.shape),
            "labels": self._spec.labels,
            "message_samples": self._config.message_samples,
            "message_bytes": self._config.message_bytes,
        }
        self._send_marks(feeder, "welcome", network)

    def _on_samples(self, peer: bytes, message: Message) -> None:
        name, epoch = message.text("feeder"), message.integer("epoch")
        first, count = message.integer("first"), message.integer("count", low=1, high=self._config.message_samples)
        feeder = self._feeders.get(name, epoch)
        if feeder is None or feeder.peer != peer:
            raise message.error("unknown_feeder", "say hello on this connection first", "feeder")
        # The order is judged before the content: samples refused for their content are passed over, and only the
        # ones that are expected next can be.
        inputs = message.tensors.get("inputs")
        size = 0 if inputs is None else inputs.nbytes
        verdict = self._feeders.judge(feeder, first, count, size, time.monotonic())
        match verdict:
            case Verdict.TAKE if self.accepting and self._room(count, size):
                self._take(feeder, message, first, count)
            case Verdict.DUPLICATE:
                self._send_marks(feeder, "ack")
            case _ if feeder.refused is None or (feeder.refused, verdict) == (Verdict.GAP, Verdict.NO_CREDIT):
                feeder.refused = Verdict.GAP if verdict is Verdict.GAP else Verdict.NO_CREDIT
                self._send_marks(feeder, "resend", {"reason": feeder.refused.value})

    def _take(self, feeder: Feeder, message: Message, first: int, count: int) -> None:
        """Put samples that are expected next into the inbox, or pass over them with an error."""
        try:
            batch = self._batch(message, count)
        except WireError as error:
            self._feeders.skip(feeder, first + count)
            self._refuse(feeder.peer, error)
            self._send_marks(feeder, "ack")
            return
        known = feeder.expected - first
        _, fresh = batch.split(known)
        if known:
            # A view would keep the whole message in memory, and only what is new of it is counted.
            fresh = replace(fresh, inputs=fresh.inputs.copy())
        self._metrics.received.labels("acknowledged").inc(count - known)
        self._feeders.take(feeder, first + count, fresh.inputs.nbytes)
        name, epoch = message.text("feeder"), message.integer("epoch")
        self._inbox.put_samples(replace(fresh, feeder=name, epoch=epoch, first=first + known))

    def _room(self, count: int, size: int) -> bool:
        """Whether the inbox has room; an empty one takes a single message of any size that a message may have."""
        inbox, config = self._inbox, self._config
        fits = inbox.samples + count <= config.inbox_samples and inbox.sample_bytes + size <= config.inbox_bytes
        return fits or not inbox.samples

    def _refuse(self, peer: bytes, error: WireError) -> None:
        self._metrics.rejected.labels("samples", error.code).inc()
        self._send(self._sockets.samples, [peer, *wire.encode_error(error, "first", "count")])

    def _on_bye(self, _peer: bytes, message: Message) -> None:
        self._feeders.goodbye(message.text("feeder"), message.integer("epoch"))

    def _send_marks(self, feeder: Feeder, kind: str, more: Mapping[str, Any] | None = None) -> None:
        samples, size = self._feeders.credit(time.monotonic())
        marks = {
            "next": feeder.learned,
            "expect": feeder.expected,
            "credit_samples": samples if self.accepting else 0,
            "credit_bytes": size if self.accepting else 0,
        }
        self._send(self._sockets.samples, [feeder.peer, *wire.encode(kind, {**marks, **(more or {})})])

    def _push_room(self, count: int, size: int) -> bool:
        """Whether pushed samples fit into their own share: the rest is promised to feeders as credit."""
        samples, nbytes = self._feeders.credit(time.monotonic())
        promised, promised_bytes = self._feeders.waiting()
        return (
            self._inbox.samples - promised + count <= samples
            and self._inbox.sample_bytes - promised_bytes + size <= nbytes
        )

    def _batch(self, message: Message, count: int) -> SampleBatch:
        inputs = message.inputs(self._spec)
        if len(inputs) != count:
            raise message.error("bad_shape", f"count says {count} samples, got {len(inputs)}", "inputs")
        return SampleBatch(inputs, message.labels(count, self._spec))
