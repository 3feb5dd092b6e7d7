"""Where a daemon is: its address by default, how addresses are written, and what each of its six ports is for."""

from __future__ import annotations

import ipaddress
import re

HOST = "127.0.0.1"
PORT = 5700
ADDRESS = f"{HOST}:{PORT}"

# Counted from the first port.
CONTROL, QUERIES, SAMPLES, PUSH, EVENTS, HTTP = range(6)
LAST = 65_535 - HTTP

_WRITTEN = re.compile(
    r"(tcp://)?(\[(?P<six>[^\[\]]+)\]|(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*))(:(?P<port>[0-9]{1,5}))?", re.ASCII
)


def join(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """Read an address as ``(host, first port)``; without a port, it is the default one.

    Parameters
    ----------
    address
        ``HOST``, ``HOST:PORT``, ``[IPV6]`` or ``[IPV6]:PORT``; ``tcp://`` in front is ignored.

    Raises
    ------
    ValueError
        If it is none of these, or if six ports do not fit from its port on.
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
