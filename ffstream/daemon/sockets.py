"""Sockets of the daemon, all bound before anything heavy is loaded."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from ffstream import ports, wire
from ffstream.config import ServerConfig
from ffstream.errors import BindError

# Messages that ZeroMQ may queue for one peer, in and out; together with the limit on a frame, they bound memory.
INCOMING = 64
REPLIES = 1_024
EVENTS = 10_000


class Wake:
    """Lets another thread interrupt a poll.

    Attributes
    ----------
    pending
        True if it was set since it was last cleared; check it before a poll, which may not return for it.
    """

    def __init__(self) -> None:
        self.pending = False
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to poll for reading."""
        return self._read.fileno()

    def set(self) -> None:
        """Make the poll return; safe from any thread."""
        if self.pending:
            return
        # If the pipe is full, the poll will return anyway; if it is closed, nobody polls any more.
        with contextlib.suppress(OSError):
            self._write.send(b"\0")
        # Set last: with a clear in between, the byte would stay in the pipe unnoticed, and no poll would wait any more.
        self.pending = True

    def clear(self) -> None:
        """Reset the flag and drain the pipe."""
        # In this order, a set in between shows in ``pending``, though not to a poll.
        self.pending = False
        with contextlib.suppress(BlockingIOError):
            self._read.recv(4096)

    def close(self) -> None:
        """Close both ends."""
        self._read.close()
        self._write.close()


@dataclass(frozen=True)
class Sockets:
    """The bound sockets; see docs/protocol.md, "Sockets"."""

    context: zmq.Context[zmq.Socket[bytes]]
    control: zmq.Socket[bytes]
    queries: zmq.Socket[bytes]
    samples: zmq.Socket[bytes]
    push: zmq.Socket[bytes]
    events: zmq.Socket[bytes]
    http: socket.socket
    wake: Wake

    def name(self, socket: zmq.Socket[bytes]) -> str:
        """Return the name of one of the sockets."""
        names = {self.queries: "queries", self.samples: "samples", self.push: "push", self.events: "events"}
        return names[socket]

    def close(self) -> None:
        """Close everything but the control socket, which its thread closes; unsent replies get one second."""
        for bound in (self.queries, self.samples, self.push, self.events):
            bound.close(linger=1000)
        self.http.close()
        self.wake.close()
        self.context.term()


def bind(config: ServerConfig) -> Sockets:
    """Bind every socket.

    Raises
    ------
    BindError
        If an address is in use or not local; the error names it, and nothing stays bound.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with contextlib.ExitStack() as undo:
        undo.callback(context.destroy, 0)

        def bound(kind: int, offset: int, frame_bytes: int) -> zmq.Socket[bytes]:
            made = context.socket(kind)
            undo.callback(made.close, 0)
            made.set(zmq.MAXMSGSIZE, frame_bytes)
            made.set(zmq.RCVHWM, INCOMING)
            made.set(zmq.SNDHWM, EVENTS if kind == zmq.XPUB else REPLIES)
            made.set(zmq.IPV6, 1 if ":" in config.host else 0)
            if kind == zmq.ROUTER:
                # Without this, a reply to a peer that is gone vanishes silently; with it, the loss is counted.
                made.set(zmq.ROUTER_MANDATORY, 1)
            _bind(config, offset, lambda address: made.bind(f"tcp://{address}"))
            return made

        sockets = Sockets(
            context,
            control=bound(zmq.ROUTER, ports.CONTROL, wire.HEADER_BYTES),
            queries=bound(zmq.ROUTER, ports.QUERIES, config.message_bytes),
            samples=bound(zmq.ROUTER, ports.SAMPLES, config.message_bytes),
            push=bound(zmq.PULL, ports.PUSH, config.message_bytes),
            events=bound(zmq.XPUB, ports.EVENTS, wire.HEADER_BYTES),
            http=_listen(config, undo),
            wake=Wake(),
        )
        undo.pop_all()
    return sockets


def _listen(config: ServerConfig, undo: contextlib.ExitStack) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET)
    undo.callback(listener.close)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _bind(config, ports.HTTP, lambda _: listener.bind((config.host, config.port + ports.HTTP)))
    return listener


def _bind(config: ServerConfig, offset: int, attempt: Callable[[str], object]) -> None:
    address = ports.join(config.host, config.port + offset)
    try:
        attempt(address)
    except (OSError, zmq.ZMQError) as error:
        last = config.port + ports.HTTP
        if error.errno == errno.EADDRINUSE:
            advice = (
                f"stop the process that uses it, or set server.port (the daemon takes ports {config.port} to {last})"
            )
        elif error.errno == errno.EACCES:
            advice = (
                f"ports below 1024 need privileges; set server.port (the daemon takes ports {config.port} to {last})"
            )
        else:
            advice = "set server.host to an address of this machine: 127.0.0.1, ::1, or 0.0.0.0 for all of them"
        raise BindError(f"{address} cannot be bound: {error.strerror}; {advice}") from error
