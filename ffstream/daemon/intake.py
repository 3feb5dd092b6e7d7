"""Intake of samples: acknowledged ones under credit, pushed ones while there is room.

Accepted samples enter the journal and the inbox in the same order.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import zmq

from ffstream import wire
from ffstream.config import ServerConfig
from ffstream.daemon.feeders import Feeder, Feeders, Level, Verdict
from ffstream.daemon.metrics import Metrics
from ffstream.daemon.sockets import Sockets
from ffstream.errors import WireError
from ffstream.stream.inbox import Inbox, SampleBatch
from ffstream.stream.journal import Journal
from ffstream.stream.records import Received
from ffstream.wire import Frames, InputSpec, Message

log = logging.getLogger(__name__)

# A feeder is sent new credit once it differs by 1/NEWS of the inbox, or once nothing is in flight.
NEWS = 32


class Intake:
    """Decodes and judges samples, and puts them into the inbox.

    Parameters
    ----------
    config
        Limits of the server.
    spec
        Inputs and labels that the network takes.
    sockets
        Replies go out on the samples socket.
    inbox, journal
        Destinations of the samples.
    metrics
        Counts what was received, rejected and dropped.
    send
        Sends frames on a socket without waiting.

    Attributes
    ----------
    accepting
        True while samples are taken: from the end of the journal's replay until the daemon stops.
    """

    def __init__(
        self,
        config: ServerConfig,
        spec: InputSpec,
        sockets: Sockets,
        inbox: Inbox,
        journal: Journal,
        metrics: Metrics,
        send: Callable[[zmq.Socket[bytes], Frames], None],
    ) -> None:
        self.accepting = False
        self._catching_up = True
        self._config = config
        self._spec = spec
        self._sockets = sockets
        self._inbox = inbox
        self._journal = journal
        self._feeders = Feeders(config.inbox_samples, config.inbox_bytes, config.feeders)
        # Messages taken and not yet on disk: LSN, feeder, and the number after the last sample.
        self._undurable: deque[tuple[int, Feeder, int]] = deque()
        self._trouble = ""
        self._metrics = metrics
        self._send = send
        self._kinds: dict[str, Callable[[bytes, Message], None]] = {
            "hello": self._on_hello,
            "samples": self._on_samples,
            "bye": self._on_bye,
        }

    def read_samples(self, frames: list[bytes]) -> None:
        """Handle a message from the samples socket; answer it, or refuse it with an error."""
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
        """Take a message from the push socket, or drop it and count the reason."""
        count = 1
        try:
            message = wire.decode(frames, self._config.message_bytes)
            if message.kind != "samples":
                raise message.error("unknown_type", f"expected 'samples', got {message.kind!r}", "type")
            count = message.integer("count", low=1, high=self._config.message_samples)
            inputs, labels = self._content(message, count)
        except WireError as error:
            self._metrics.rejected.labels("push", error.code).inc()
            self._metrics.dropped.labels(error.code).inc(count)
            return
        self._metrics.received.labels("push").inc(count)
        pushed, size = self._feeders.pushed, inputs.nbytes
        first = pushed.expected
        if (
            self._taking(count, size)
            and self._feeders.judge(pushed, first, count, size, time.monotonic()) is Verdict.TAKE
        ):
            self._put(pushed, SampleBatch(inputs, labels, first=first))
        else:
            self._metrics.dropped.labels(self._why_not()).inc(count)

    def open(self, feeders: Mapping[str, tuple[int, int, int]]) -> None:
        """Start taking samples, after those already on disk."""
        self._feeders.restore(feeders)
        self._catching_up, self.accepting = False, True

    def acknowledge(self, learned: Mapping[str, tuple[int, int]]) -> None:
        """Send feeders their acknowledged marks and their credit.

        Parameters
        ----------
        learned
            Learned marks that moved: feeder to (epoch, next).
        """
        found = (self._feeders.advance(name, epoch, upto) for name, (epoch, upto) in learned.items())
        moved = {feeder for feeder in found if feeder is not None}
        durable = self._journal.durable
        while self._undurable and self._undurable[0][0] <= durable:
            _, feeder, upto = self._undurable.popleft()
            feeder.advance(durable=upto)
            moved.add(feeder)
        if self._journal.trouble != self._trouble:
            self._trouble = self._journal.trouble
            moved |= {*self._feeders.connected()}
            for feeder in self._feeders.connected() if self._trouble else ():
                self._send(self._sockets.samples, [feeder.peer, *wire.encode_error(self._no_disk())])
        for feeder in moved:
            if feeder.peer and self._is_news(feeder):
                self._send_marks(feeder, "ack")
        if moved:
            self._resume()

    def _resume(self) -> None:
        """Ask the feeders that were refused for lack of credit to resend, once there is room again."""
        if self._taking(1, 0):
            for feeder in self._feeders.starved():
                feeder.refused = None
                self._send_marks(feeder, "resend", {"reason": "credit"})

    def refresh_gauges(self) -> None:
        """Update the gauges of the inbox, the credit, the feeders and the journal."""
        now = time.monotonic()
        self._metrics.inbox.set(self._inbox.samples)
        self._metrics.inbox_bytes.set(self._inbox.sample_bytes)
        self._metrics.credit.set(self._feeders.share(now)[0] if self._taking(1, 0) else 0)
        self._metrics.feeders.set(self._feeders.active(now))
        self._metrics.journal_bytes.set(self._journal.size)
        self._metrics.journal_stalled.set(bool(self._journal.trouble))
        self._metrics.undurable.set(len(self._undurable))

    def _on_hello(self, peer: bytes, message: Message) -> None:
        name, epoch, first = message.text("feeder"), message.integer("epoch"), message.integer("first")
        level = message.choice("ack", [*Level], Level.DURABLE)
        if self._catching_up:
            raise message.error("catching_up", "the daemon is replaying its journal; say hello again in a second")
        known = self._feeders.get(name, epoch)
        if known is None or known.peer != peer:
            self._metrics.feeder_connections.labels(level).inc()
            log.debug("feeder %r connected, epoch %d, from sample %d", name, epoch, first)
        feeder = self._feeders.hello(name, epoch, first, Level(level), peer, time.monotonic())
        network = {
            "shape": list(self._spec.shape),
            "labels": self._spec.labels,
            "message_samples": self._config.message_samples,
            "message_bytes": self._config.message_bytes,
        }
        self._send_marks(feeder, "welcome", network)
        if self._trouble:
            self._send(self._sockets.samples, [peer, *wire.encode_error(self._no_disk())])

    def _on_samples(self, peer: bytes, message: Message) -> None:
        name, epoch = message.text("feeder"), message.integer("epoch")
        first, count = message.integer("first"), message.integer("count", low=1, high=self._config.message_samples)
        feeder = self._feeders.get(name, epoch)
        if feeder is None or feeder.peer != peer:
            raise message.error("unknown_feeder", "say hello on this connection first", "feeder")
        # The order is judged before the content: samples refused for their content are skipped, and only the samples
        # expected next can be skipped.
        inputs = message.tensors.get("inputs")
        size = 0 if inputs is None else inputs.nbytes
        verdict = self._feeders.judge(feeder, first, count, size, time.monotonic())
        match verdict:
            case Verdict.TAKE if self._taking(count, size):
                self._take(feeder, message, first, count)
            case Verdict.DUPLICATE:
                self._send_marks(feeder, "ack")
            case _ if feeder.refused is None or (feeder.refused, verdict) == (Verdict.GAP, Verdict.NO_CREDIT):
                feeder.refused = Verdict.GAP if verdict is Verdict.GAP else Verdict.NO_CREDIT
                self._send_marks(feeder, "resend", {"reason": feeder.refused.value})

    def _take(self, feeder: Feeder, message: Message, first: int, count: int) -> None:
        """Put the samples expected next into the inbox, or skip them with an error."""
        try:
            inputs, labels = self._content(message, count)
        except WireError as error:
            feeder.skip(first + count)
            self._refuse(feeder.peer, error)
            self._send_marks(feeder, "ack")
            return
        if known := feeder.expected - first:
            # Copied: a view would keep the whole message in memory, but only the new samples are counted.
            inputs, labels = inputs[known:].copy(), labels[known:]
        self._metrics.received.labels("acknowledged").inc(len(labels))
        name, epoch = message.text("feeder"), message.integer("epoch")
        self._put(feeder, SampleBatch(inputs, labels, name, epoch, first + known))

    def _put(self, feeder: Feeder, batch: SampleBatch) -> None:
        """Append samples to the journal and to the inbox; learning need not wait for the disk."""
        upto = batch.first + len(batch.labels)
        feeder.take(upto, batch.inputs.nbytes)
        lsn = self._journal.append(Received(batch))
        self._undurable.append((lsn, feeder, upto))
        self._inbox.put_samples(batch.at(lsn))

    def _taking(self, count: int, size: int) -> bool:
        """Return True if there is room; an empty inbox takes a single message of any permitted size."""
        inbox, config = self._inbox, self._config
        fits = inbox.samples + count <= config.inbox_samples and inbox.sample_bytes + size <= config.inbox_bytes
        return self.accepting and not self._journal.trouble and (fits or not inbox.samples)

    def _why_not(self) -> str:
        if self._catching_up:
            return "catching_up"
        if not self.accepting:
            return "stopping"
        return "no_disk" if self._journal.trouble else "inbox_full"

    def _no_disk(self) -> WireError:
        return WireError("no_disk", f"{self._trouble}; samples that are not acknowledged are kept, and taken in then")

    def _refuse(self, peer: bytes, error: WireError) -> None:
        self._metrics.rejected.labels("samples", error.code).inc()
        self._send(self._sockets.samples, [peer, *wire.encode_error(error, "first", "count")])

    def _on_bye(self, _peer: bytes, message: Message) -> None:
        self._feeders.goodbye(message.text("feeder"), message.integer("epoch"))

    def _is_news(self, feeder: Feeder) -> bool:
        """Return True if the marks moved enough to report; a small change of credit is not worth a message."""
        now, told, config = self._marks(feeder), feeder.told, self._config
        if now["next"] != told["next"]:
            return True
        samples = abs(now["credit_samples"] - told["credit_samples"])
        size = abs(now["credit_bytes"] - told["credit_bytes"])
        if not feeder.in_flight:
            return samples + size > 0
        return samples * NEWS > config.inbox_samples or size * NEWS > config.inbox_bytes

    def _send_marks(self, feeder: Feeder, kind: str, more: Mapping[str, Any] | None = None) -> None:
        feeder.told = self._marks(feeder)
        self._send(self._sockets.samples, [feeder.peer, *wire.encode(kind, {**feeder.told, **(more or {})})])

    def _marks(self, feeder: Feeder) -> dict[str, int]:
        samples, size = self._feeders.credit(feeder, time.monotonic())
        taking = self.accepting and not self._journal.trouble
        return {
            "next": feeder.acknowledged,
            "expect": feeder.expected,
            "credit_samples": samples if taking else 0,
            "credit_bytes": size if taking else 0,
        }

    def _content(self, message: Message, count: int) -> tuple[wire.Array, wire.Array]:
        """Return the inputs and labels of a message; raise WireError if the network does not take them."""
        inputs = message.inputs(self._spec)
        if len(inputs) != count:
            raise message.error("bad_shape", f"count says {count} samples, got {len(inputs)}", "inputs")
        return inputs, message.labels(count, self._spec)
