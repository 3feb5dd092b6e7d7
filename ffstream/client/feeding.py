"""Feeds samples under credit and keeps each one until it is acknowledged."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from ffstream import wire
from ffstream.client.connecting import connected
from ffstream.client.requests import decode, refusal
from ffstream.errors import Refused, Unreachable
from ffstream.wire import Array, Message

SILENCE_S = 1.0


@dataclass(frozen=True)
class Chunk:
    """Samples numbered from ``first``, not yet acknowledged."""

    first: int
    inputs: Array
    labels: Array

    @property
    def end(self) -> int:
        """Number after the last sample."""
        return self.first + len(self.labels)


class Feeding:
    """One feeder's connection: numbers samples, sends what credit allows, resends what was lost.

    Parameters
    ----------
    context
        ZeroMQ context of the socket.
    address
        ``host:port`` of the daemon's samples socket.
    feeder
        Name under which the daemon remembers this feeder's progress.
    epoch
        Life of the feeder; within one, samples are numbered from 0.
    ack
        Promise of an acknowledgement: ``received``, ``durable`` or ``learned``.
    timeout_s
        Seconds of silence after which the daemon counts as unreachable, and of a full disk before an error is raised.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, feeder: str, epoch: int, ack: str, timeout_s: float
    ) -> None:
        self._address = address
        self._who = {"feeder": feeder, "epoch": epoch}
        self._ack = ack
        self._timeout_s = timeout_s
        self._socket = connected(context, zmq.DEALER, address)
        # Every unacknowledged chunk is in one of the two, in order: first the chunks in flight, then the queued ones.
        self._in_flight: deque[Chunk] = deque()
        self._in_flight_bytes = 0
        self._queued: deque[Chunk] = deque()
        # Sample numbers: the next to assign, and the first that the daemon has not acknowledged.
        self._numbered = self._done = 0
        self._credit = (0, 0)
        self._limits: tuple[int, int] | None = None
        self._spec: tuple[list[int], int] | None = None
        # Refused samples are kept like the others until the daemon has skipped them: a daemon that restarts in between
        # must see their numbers again. The caller gets one error.
        self._refused: list[Refused] = []
        self._refused_numbers: set[int] = set()
        # Time since which the daemon has been unable to write to its disk, and its error.
        self._stalled: tuple[float, Refused] | None = None
        self._heard_at = self._greeted_at = time.monotonic()
        self.acknowledged = 0

    @property
    def waiting(self) -> int:
        """Number of samples not yet acknowledged."""
        return sum(len(chunk.labels) for chunk in [*self._in_flight, *self._queued])

    def feed(self, inputs: Array, labels: Array) -> None:
        """Send samples (n, *shape) and labels (n,); return once credit has allowed the last one to be sent.

        Raises
        ------
        Refused
            If the daemon refused these or earlier samples; those it accepted stay accepted. With code ``no_disk``, if
            its disk stays full; everything is kept, and ``flush`` tries again.
        Unreachable
            If the daemon does not answer; the samples are kept, and ``flush`` tries again.
        """
        self.greet()
        samples, size = self._limits or (len(labels), 0)
        # A message is its header, the inputs, and eight bytes for each label.
        step = max(1, min(samples, (size - wire.HEADER_BYTES) // (inputs[:1].nbytes + 8)))
        for start in range(0, len(labels), step):
            part = slice(start, start + step)
            # Copied, because the chunk may be resent after the caller has changed the array.
            chunk = Chunk(self._numbered, inputs[part].copy(), labels[part].copy())
            self._queued.append(chunk)
            self._numbered = chunk.end
        self._forget_done()
        self._await(lambda: not self._queued)

    def flush(self) -> None:
        """Wait until every sample is acknowledged; raises as ``feed`` does."""
        if self._in_flight or self._queued:
            self._await(lambda: not self._in_flight and not self._queued)

    def close(self) -> None:
        """Return the credit and close the connection; unacknowledged samples are lost."""
        if self._limits is not None and self._socket.poll(0, zmq.POLLOUT):
            self._socket.send_multipart(wire.encode("bye", self._who))
        self._socket.close(linger=1000)

    def greet(self) -> None:
        """Say hello once and wait for the daemon's limits; raise Unreachable if it does not answer."""
        if self._limits is None:
            self._hello()
            self._await(lambda: self._limits is not None)

    def _await(self, done: Callable[[], bool]) -> None:
        self._heard_at = time.monotonic()
        while True:
            self._send_some()
            while self._socket.poll(0):
                self._on_message(decode(self._socket.recv_multipart()))
            if self._refused:
                raise self._refused.pop(0)
            if done():
                return
            if self._stalled is not None and time.monotonic() - self._stalled[0] > self._timeout_s:
                refused, self._stalled = self._stalled[1], None
                raise refused
            if not self._sendable():
                self._listen()

    def _listen(self) -> None:
        if self._socket.poll(round(SILENCE_S * 1e3 / 4)):
            return
        now = time.monotonic()
        if now - self._heard_at > self._timeout_s:
            raise Unreachable(
                f"no reply from {self._address} for {self._timeout_s:g} s; {self.waiting} samples are not "
                "acknowledged; does `ffstream serve` run there?"
            )
        if now - max(self._heard_at, self._greeted_at) > SILENCE_S:
            self._hello()

    def _hello(self) -> None:
        first = next((chunk.first for chunk in (*self._in_flight, *self._queued)), self._numbered)
        self._greeted_at = time.monotonic()
        # If the daemon is gone, the queue is full; hello is retried anyway.
        if self._socket.poll(0, zmq.POLLOUT):
            self._socket.send_multipart(wire.encode("hello", {**self._who, "first": first, "ack": self._ack}))

    def _sendable(self) -> Chunk | None:
        """Return the next chunk if credit allows it; split it if it is larger than the whole credit."""
        if not self._queued or not self._socket.poll(0, zmq.POLLOUT):
            return None
        chunk = self._queued[0]
        samples, size = self._credit
        oldest = self._in_flight[0] if self._in_flight else chunk
        if chunk.end - oldest.first <= samples and self._in_flight_bytes + chunk.inputs.nbytes <= size:
            return chunk
        if self._in_flight or samples == 0:
            return None
        count = max(1, min(samples, size * len(chunk.labels) // max(1, chunk.inputs.nbytes)))
        if count < len(chunk.labels):
            head = Chunk(chunk.first, chunk.inputs[:count], chunk.labels[:count])
            self._queued[0] = Chunk(head.end, chunk.inputs[count:], chunk.labels[count:])
            self._queued.appendleft(head)
        return self._queued[0]

    def _send_some(self) -> None:
        while (chunk := self._sendable()) is not None:
            fields = {**self._who, "first": chunk.first, "count": len(chunk.labels)}
            tensors = {"inputs": chunk.inputs, "labels": chunk.labels}
            self._socket.send_multipart(wire.encode("samples", fields, tensors))
            self._in_flight.append(self._queued.popleft())
            self._in_flight_bytes += chunk.inputs.nbytes

    def _rewind(self, expect: int) -> None:
        """Requeue the chunks at or beyond the number that the daemon expects next."""
        while self._in_flight and self._in_flight[-1].end > expect:
            chunk = self._in_flight.pop()
            self._in_flight_bytes -= chunk.inputs.nbytes
            self._queued.appendleft(chunk)

    def _on_message(self, message: Message) -> None:
        self._heard_at = time.monotonic()
        if message.kind == "error":
            self._on_error(message)
            return
        self._credit = (message.integer("credit_samples"), message.integer("credit_bytes"))
        if self._credit[0]:
            self._stalled = None
        self._done = message.integer("next")
        self._forget_done()
        if message.kind == "welcome":
            self._limits = (message.integer("message_samples", 1), message.integer("message_bytes", 1))
        if message.kind in ("welcome", "resend"):
            self._rewind(message.integer("expect"))
        if message.kind == "resend" and message.fields.get("reason") == "no_credit":
            # Wait for the message that brings new credit.
            self._credit = (0, 0)

    def _forget_done(self) -> None:
        while self._in_flight and self._in_flight[0].end <= self._done:
            chunk = self._in_flight.popleft()
            self._in_flight_bytes -= chunk.inputs.nbytes
            self._count(chunk)
        # A feeder that returns in the same epoch queues samples that its earlier process has already fed.
        while self._queued and self._queued[0].end <= self._done:
            self._count(self._queued.popleft())

    def _count(self, chunk: Chunk) -> None:
        if chunk.first in self._refused_numbers:
            self._refused_numbers.remove(chunk.first)
        else:
            self.acknowledged += len(chunk.labels)

    def _on_error(self, message: Message) -> None:
        if message.fields.get("code") == "unknown_feeder":
            # The daemon restarted or forgot this feeder: say hello, and the reply says where to resume.
            if time.monotonic() - self._greeted_at > SILENCE_S / 10:
                self._hello()
            return
        if message.fields.get("code") == "catching_up":
            # Every hello gets this answer until the daemon has replayed its journal; after a silence, hello is resent.
            return
        if message.fields.get("code") == "no_disk":
            self._stalled = self._stalled or (time.monotonic(), refusal(message))
            return
        first = message.fields.get("first")
        if type(first) is int:
            if first in self._refused_numbers:
                return
            self._refused_numbers.add(first)
        self._refused.append(refusal(message))
