"""Checks of the state directory: write access, speed of durable writes, and free space."""

from __future__ import annotations

import fcntl
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from ffstream.config import StateConfig
from ffstream.doctor.finding import Finding, size

# Number of durable writes to time, and bytes of each: a page of the journal.
FLUSHES, PAGE_BYTES = 20, 64 * 2**10
# Median seconds above which durable acknowledgements are slow.
SLOW_S = 0.02
# File systems unfit for a state directory, and why.
UNFIT = {
    "tmpfs": "it is in memory and is lost when the machine restarts",
    "ramfs": "it is in memory and is lost when the machine restarts",
    "overlay": "it is in a container's own layer and is lost with the container",
    "nfs": "SQLite's journal does not work safely over a network",
    "nfs4": "SQLite's journal does not work safely over a network",
    "cifs": "SQLite's journal does not work safely over a network",
}


def check_state(state: StateConfig) -> Finding:
    """Check that the state directory can be used and is not in use; it is not created if missing."""
    directory, there = state.directory, _nearest(state.directory)
    name = str(directory.absolute())
    if not there.is_dir():
        return Finding("state", "fail", f"{there} is not a directory", "remove it, or set state.directory")
    # Creating files in a folder takes permission to write and to enter it.
    if not _can_write(there):
        whose = (
            f"{name} cannot be written" if there == directory else f"{name} cannot be created: {there} is not writable"
        )
        return Finding("state", "fail", whose, "make it writable for this user, or set state.directory")
    if _locked(directory / "lock"):
        return Finding("state", "warn", f"a daemon uses {name}", "stop it before you start another there")
    if (why := UNFIT.get(kind := _file_system(there))) is not None:
        return Finding(
            "state", "warn", f"{name} is on {kind}: {why}", "set state.directory to a folder on a local disk"
        )
    found = "can be written" if directory.exists() else "does not exist yet, and can be created"
    return Finding("state", "ok", f"{name} {found}")


def check_speed(directory: Path) -> Finding:
    """Measure the time until a small write is on the disk (fsync)."""
    times = []
    try:
        with tempfile.TemporaryFile(dir=_nearest(directory)) as file:
            for _ in range(FLUSHES):
                file.write(os.urandom(PAGE_BYTES))
                file.flush()
                began = time.perf_counter()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - began)
    except OSError as error:
        return Finding("disk", "fail", f"a file in {directory} cannot be written: {error.strerror}", "check the disk")
    median, worst = statistics.median(times), max(times)
    found = f"a write reaches the disk after {median * 1e3:.1f} ms (median of {FLUSHES}), {worst * 1e3:.1f} ms at worst"
    if median > SLOW_S:
        advice = "every durable acknowledgment waits for it; put state.directory on a faster disk"
        return Finding("disk", "warn", found, advice)
    return Finding("disk", "ok", found)


def check_space(state: StateConfig, checkpoint_bytes: int) -> Finding:
    """Compare the free space with the maximum size of the journal and the checkpoints.

    Parameters
    ----------
    state
        Size of the journal, and number of checkpoints.
    checkpoint_bytes
        Size of one checkpoint.
    """
    free = shutil.disk_usage(_nearest(state.directory)).free
    used = sum(path.stat().st_size for path in state.directory.rglob("*") if path.is_file())
    # A new checkpoint is written before the oldest is removed.
    checkpoints = (state.keep + 1) * checkpoint_bytes
    needed = checkpoints + (state.journal_bytes if state.journal else 0)
    takes = f"the journal and {state.keep} checkpoints take up to {size(needed)}"
    found = f"{size(free)} are free, and state.directory holds {size(used)}; {takes}"
    if free + used < checkpoints:
        return Finding("space", "fail", found, "free some space, or set state.directory to another disk")
    if free + used < needed:
        fits = (free + used - checkpoints) * 9 // 10
        return Finding("space", "warn", found, f"free some space, or set state.journal_bytes to at most {fits}")
    return Finding("space", "ok", found)


def _nearest(directory: Path) -> Path:
    """Return the directory, or the nearest one above it that exists."""
    directory = directory.absolute()
    return next((path for path in (directory, *directory.parents) if path.exists()), Path("/"))


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _locked(lock: Path) -> bool:
    """Return True if a daemon holds the lock of a state directory."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _file_system(folder: Path) -> str:
    """Return the type of a folder's file system; empty if it is not known."""
    mounts = Path("/proc/self/mounts")
    found = (Path("/"), "")
    for line in mounts.read_text().splitlines() if mounts.exists() else []:
        point, kind = line.split()[1:3]
        if folder.resolve().is_relative_to(point) and len(point) >= len(str(found[0])):
            found = Path(point), kind
    return found[1]
