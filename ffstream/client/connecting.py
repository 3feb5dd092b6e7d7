"""Connects a socket to one of the daemon's ports."""

from __future__ import annotations

import zmq


def connected(context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str) -> zmq.Socket[bytes]:
    """Create a socket and connect it to ``host:port``; a missing daemon shows only later.

    Raises
    ------
    ValueError
        If the client that the context belongs to is closed.
    """
    if context.closed:
        raise ValueError("the client is closed")
    made = context.socket(kind)
    # Only for an address in brackets: if a name has both IPv4 and IPv6 addresses, ZeroMQ tries only one of them, and
    # a daemon on 127.0.0.1 could no longer be reached as localhost.
    made.set(zmq.IPV6, int(address.startswith("[")))
    made.connect(f"tcp://{address}")
    return made
