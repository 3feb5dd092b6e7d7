"""Connecting a socket to one of the daemon's ports."""

from __future__ import annotations

import zmq


def connected(context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str) -> zmq.Socket[bytes]:
    """Make a socket that connects to ``host:port``; whether somebody is there shows later.

    Raises
    ------
    ValueError
        If the client that the context belongs to is closed.
    """
    if context.closed:
        raise ValueError("the client is closed")
    made = context.socket(kind)
    # Only for an address in brackets: where a name has addresses of both kinds, ZeroMQ tries a single one, and a
    # daemon on 127.0.0.1 could not be reached as localhost any more.
    made.set(zmq.IPV6, int(address.startswith("[")))
    made.connect(f"tcp://{address}")
    return made
