"""Subscription to events, from any number on, without gaps."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import zmq

from ffstream.client.connecting import connected
from ffstream.client.requests import decode

_COMMON = ("topic", "number", "time")


@dataclass(frozen=True)
class Event:
    """An event in the daemon; docs/protocol.md lists the topics and their fields.

    Attributes
    ----------
    topic
        ``phase``, ``score``, ``prediction``, ``dream``, ``checkpoint``, …
    number
        Position among the events of its topic, from 1, without gaps; numbering restarts when the daemon restarts.
    time
        Unix time.
    fields
        Fields of the topic.
    """

    topic: str
    number: int
    time: float
    fields: Mapping[str, Any]


class Subscription:
    """Iterates over events; a context manager, closed by ``close`` or at the end of the block.

    Parameters
    ----------
    context
        ZeroMQ context of the socket.
    address
        ``host:port`` of the daemon's events socket.
    topics
        Topics to subscribe to.
    after
        Start with the stored events of each topic numbered above it; None starts with the next event.
    timeout_s
        Seconds without an event after which the iteration ends; None waits forever.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        topics: Sequence[str],
        after: int | None,
        timeout_s: float | None,
    ) -> None:
        self._socket = connected(context, zmq.SUB, address)
        self._timeout_ms = None if timeout_s is None else round(timeout_s * 1e3)
        # Topics whose replay has not ended; until then, their live events are in the replay as well.
        self._replaying: set[str] = set()
        for topic in topics:
            self._socket.subscribe(topic)
        for topic in topics if after is not None else ():
            self._replaying.add(topic)
            self._socket.subscribe(f"replay/{topic}/{after}/{uuid.uuid4().hex}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        while not self._socket.closed and self._socket.poll(self._timeout_ms):
            address, *frames = self._socket.recv_multipart()
            message = decode(frames)
            topic, number = message.text("topic"), message.integer("number")
            replayed = address.startswith(b"replay/")
            if message.kind == "replayed":
                self._replaying.discard(topic)
                self._socket.unsubscribe(address)
            elif replayed or topic not in self._replaying:
                when = message.number("time") or 0.0
                told = {name: value for name, value in message.fields.items() if name not in _COMMON}
                told |= message.tensors
                yield Event(topic, number, when, told)

    def close(self) -> None:
        """Stop listening."""
        self._socket.close(linger=0)
