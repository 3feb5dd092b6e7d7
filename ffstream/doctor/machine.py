"""Checks of the operating system's resources besides the disk: ports, clock, file descriptors."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import ffstream
from ffstream import ports
from ffstream.client import Client
from ffstream.config import PhasesConfig, ServerConfig
from ffstream.daemon.sockets import bind
from ffstream.doctor.finding import Finding
from ffstream.errors import BindError, FFStreamError

# Seconds that the process on a port may take to identify itself as a daemon.
ANSWER_S = 1.0
# File descriptors of a daemon without peers, and of each peer: one connection to each socket that it may use.
OWN_FILES, PEER_FILES = 128, 3
# Return value of adjtimex(2) if the clock is not synchronized, and the size of its buffer.
TIME_ERROR, TIMEX_BYTES = 5, 512


def check_ports(server: ServerConfig) -> Finding:
    """Check that all six ports can be bound."""
    last = server.port + ports.HTTP
    try:
        sockets = bind(server)
    except BindError as error:
        if (pid := _daemon(server)) is not None:
            found = f"a daemon runs on ports {server.port} to {last} of {server.host}, process {pid}"
            return Finding("ports", "warn", found, "stop it before you start another, or set server.port for that one")
        reason, _, advice = str(error).partition("; ")
        held = ", ".join(f"process {pid} ({name})" for pid, name in sorted(_holders(range(server.port, last + 1))))
        return Finding("ports", "fail", reason + (f"; in use by {held}" if held else ""), advice)
    sockets.control.close(linger=0)
    sockets.close()
    return Finding("ports", "ok", f"{server.port} to {last} are free on {server.host}")


def check_clock(phases: PhasesConfig) -> Finding:
    """Check that the wall clock is plausible and synchronized."""
    resolution = time.get_clock_info("monotonic").resolution
    installed = Path(ffstream.__file__).stat().st_mtime
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    if time.time() < installed - 86_400:
        return Finding("clock", "fail", f"it is {now}, before ffstream was installed", "set the system's clock")
    if _synchronised() is False:
        needs = (
            "the schedule sleeps by it"
            if phases.schedule == "clock"
            else "feeders that restart take their epoch from it"
        )
        found = f"it is {now}, and nothing synchronizes the clock; {needs}"
        return Finding("clock", "warn", found, "run chrony or systemd-timesyncd on this machine or its host")
    kept = "synchronized" if _synchronised() else "synchronization unknown"
    return Finding("clock", "ok", f"it is {now}, {kept}; durations are measured to {resolution * 1e9:.0f} ns")


def check_files(server: ServerConfig) -> Finding:
    """Compare the limit on open files with the number that all feeders need together."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = OWN_FILES + PEER_FILES * server.feeders
    found = f"the process may open {limit} files; {server.feeders} feeders (server.feeders) need about {needed}"
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return Finding("open files", "ok", found)
    hard = "" if most == resource.RLIM_INFINITY or most >= needed else f", once its hard limit of {most} is raised"
    return Finding("open files", "warn", found, f"ulimit -n {needed}{hard}; in a systemd unit, LimitNOFILE={needed}")


def _daemon(server: ServerConfig) -> int | None:
    """Return the process ID of the daemon that answers there, or ``None``."""
    try:
        with Client(f"{server.host}:{server.port}", timeout_s=ANSWER_S) as client:
            return int(client.status()["pid"])
    except (FFStreamError, ValueError):
        return None


def _holders(wanted: range) -> Iterator[tuple[int, str]]:
    """Find the processes that listen on ports, by ID and name; only root sees those of other users."""
    inodes = set(_listening(wanted))
    found = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        # The process belongs to another user, or has ended.
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) in inodes:
                found.add(descriptor.parents[1])
    for process in found:
        with contextlib.suppress(OSError):
            yield int(process.name), (process / "comm").read_text().strip()


def _listening(wanted: range) -> Iterator[str]:
    """Find the sockets that listen on ports, named as in the links of their descriptors (proc(5), /proc/net/tcp)."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == "0A" and int(local.rpartition(":")[2], 16) in wanted:
                yield f"socket:[{inode}]"


def _synchronised() -> bool | None:
    """Return True if the kernel reports a synchronized clock; ``None`` if it does not say."""
    adjust = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjust is None:
        return None
    # A buffer of zeros reads the state and changes nothing.
    state = int(adjust(ctypes.create_string_buffer(TIMEX_BYTES)))
    return None if state < 0 else state != TIME_ERROR
