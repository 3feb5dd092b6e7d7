"""Requests that are answered one by one: queries and commands."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any

import zmq

from ffstream import wire
from ffstream.client.connecting import connected
from ffstream.errors import Refused, Unreachable, WireError
from ffstream.wire import Array, Message

ATTEMPT_S = 2.0
BUSY_PAUSE_S = 0.01


class Requests:
    """A DEALER socket that resends a request until it is answered, if the request is idempotent.

    Parameters
    ----------
    context
        ZeroMQ context of the socket.
    address
        ``host:port`` of the daemon's socket.
    timeout_s
        Seconds after which a request fails.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, timeout_s: float) -> None:
        self._context = context
        self._address = address
        self._timeout_s = timeout_s
        self._ids = itertools.count(1)
        self._socket: zmq.Socket[bytes] | None = None

    def ask(
        self, kind: str, fields: Mapping[str, Any], tensors: Mapping[str, Array] | None = None, *, once: bool = False
    ) -> Message:
        """Send a request and return its answer; set ``once`` if the request is not idempotent.

        Raises
        ------
        Refused
            If the daemon answers with an error other than ``busy``.
        Unreachable
            If no answer comes in time.
        """
        give_up = time.monotonic() + self._timeout_s
        while (left := give_up - time.monotonic()) > 0:
            number = next(self._ids)
            self._connected().send_multipart(wire.encode(kind, {"id": number, **fields}, tensors))
            answer = self._receive(number, left if once else min(left, max(ATTEMPT_S, self._timeout_s / 3)))
            if answer is None:
                # A request still queued for a daemon that is gone must not reach its successor twice.
                self.close()
            elif answer.kind != "error":
                return answer
            elif answer.fields.get("code") != "busy":
                raise refusal(answer)
            else:
                time.sleep(BUSY_PAUSE_S)
        raise Unreachable(
            f"no answer from {self._address} within {self._timeout_s:g} s; does `ffstream serve` run there?"
        )

    def close(self) -> None:
        """Drop the connection; the next request makes a new one."""
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def _connected(self) -> zmq.Socket[bytes]:
        if self._socket is None:
            self._socket = connected(self._context, zmq.DEALER, self._address)
        return self._socket

    def _receive(self, number: int, seconds: float) -> Message | None:
        give_up = time.monotonic() + seconds
        socket = self._connected()
        while socket.poll(max(0, round((give_up - time.monotonic()) * 1e3))):
            message = decode(socket.recv_multipart())
            if message.fields.get("id") == number:
                return message
        return None


def decode(frames: list[bytes]) -> Message:
    """Decode a daemon's message; raise Refused if it cannot be read, as from another version."""
    try:
        return wire.decode(frames, sum(map(len, frames)))
    except WireError as error:
        raise Refused(error.code, f"the daemon's message cannot be read: {error.message}", error.field) from error


def refusal(message: Message) -> Refused:
    """Turn the daemon's error message into an exception."""
    code, text, field = (str(message.fields.get(name, "")) for name in ("code", "message", "field"))
    return Refused(code, text, field)
