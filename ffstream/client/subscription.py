"""Listening to events, from any number on, without a gap."""

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
    """Something that happened in the daemon; docs/protocol.md lists the topics and their fields.

    Attributes
    ----------
    topic
        ``phase``, ``score``, ``prediction``, ``dream``, ``checkpoint``, …
    number
        Position among the events of its topic, from 1, without gaps; it begins anew when the daemon restarts.
    time
        Unix time.
    fields
        What the topic tells.
    """

    topic: str
    number: int
    time: float
    fields: Mapping[str, Any]


class Subscription:
    """Iterates over events; a context manager, closed by hand or by the end of the block.

    Parameters
    ----------
    context
        Where the socket is made.
    address
        ``host:port`` of the daemon's events socket.
    topics
        Which events.
    after
        Begin with the kept events of each topic that are numbered above it; None begins now.
    timeout_s
        End the iteration when nothing comes for so long; None waits forever.
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
        # Until a topic's replay has ended, its live events are in the replay as well.
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
