"""Addresses of a daemon: the default, the written form, and the purpose of each of its six ports."""

from __future__ import annotations

import ipaddress
import re

HOST = "127.0.0.1"
PORT = 5700
ADDRESS = f"{HOST}:{PORT}"

# Offsets from the first port.
CONTROL, QUERIES, SAMPLES, PUSH, EVENTS, HTTP = range(6)
LAST = 65_535 - HTTP

_WRITTEN = re.compile(
    r"(tcp://)?(\[(?P<six>[^\[\]]+)\]|(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*))(:(?P<port>[0-9]{1,5}))?", re.ASCII
)


def join(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """Parse an address into ``(host, first port)``; the port defaults to ``PORT``.

    Parameters
    ----------
    address
        ``HOST``, ``HOST:PORT``, ``[IPV6]`` or ``[IPV6]:PORT``; ``tcp://`` in front is ignored.

    Raises
    ------
    ValueError
        If it has none of these forms, or if its port leaves no room for six.
    """
    read = _WRITTEN.fullmatch(address)
    host = (read["six"] or read["host"]) if read else ""
    if read is None or host.isdecimal() or (read["six"] and not _is_ipv6(host)):
        raise ValueError(f"expected HOST:PORT or [IPV6]:PORT, got {address!r}")
    port = PORT if read["port"] is None else int(read["port"])
    if not 1 <= port <= LAST:
        raise ValueError(f"expected a port from 1 to {LAST}, the first of the daemon's six, got {address!r}")
    return host, port


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
