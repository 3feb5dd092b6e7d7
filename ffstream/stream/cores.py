"""Number of cores that the process may use: its CPU affinity, and the CPU quota of its control groups.

A container is usually limited by a quota, which affinity does not show: Docker's ``--cpus 1.5`` and a Kubernetes CPU
limit leave every core of the host visible, and stop all threads for the rest of each period once the quota is used up.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")


def available_cores(root: Path = ROOT) -> float:
    """Return the number of cores that this process may use at once: affinity or quota, whichever is less.

    A quota may be a fraction: 1.5 means one and a half seconds of CPU time per second.

    Parameters
    ----------
    root
        Folder that holds ``proc`` and ``sys``.

    Returns
    -------
    float
        Above 0. If no quota is set or can be read, the number of cores that the process may run on.
    """
    return min(float(_affinity()), *_quotas(root), math.inf)


def _affinity() -> int:
    # macOS has no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of the process's control groups, and of all groups above them, as far as they are visible.

    Version 2 has one hierarchy of groups for everything; version 1 has one per controller or set of controllers.
    """
    groups = [line.split(":", 2) for line in _lines(root / "proc/self/cgroup")]
    of_controllers = {controllers: path for _, controllers, path in groups}
    for fields in map(str.split, _lines(root / "proc/self/mountinfo")):
        # proc_pid_mountinfo(5): after " - " come the file system, its source, and its own options.
        mounted_from, mounted_at, (system, _, options) = fields[3], fields[4], fields[fields.index("-") + 1 :][:3]
        if system == "cgroup2":
            path, read = of_controllers.get(""), _quota_2
        elif system == "cgroup" and "cpu" in options.split(","):
            path, read = (
                next((path for names, path in of_controllers.items() if "cpu" in names.split(",")), None),
                _quota_1,
            )
        else:
            continue
        top = root / mounted_at.lstrip("/")
        if path is not None:
            yield from (quota for group in _upwards(top, mounted_from, path) if (quota := read(group)) is not None)


def _upwards(top: Path, mounted_from: str, path: str) -> Iterator[Path]:
    """Yield the folder of a group, and those above it up to the mount point of their hierarchy.

    A container may see only its own part of the hierarchy, mounted from there; the path starts at the hierarchy's root.
    """
    inner = Path(path).relative_to(mounted_from) if Path(path).is_relative_to(mounted_from) else Path()
    group = top / inner if ".." not in inner.parts else top
    yield from (group, *(above for above in group.parents if above.is_relative_to(top)))


def _quota_2(group: Path) -> float | None:
    # "150000 100000": microseconds of CPU time per period, and the period's length; "max 100000" means no limit.
    return _ratio(" ".join(_lines(group / "cpu.max")).split())


def _quota_1(group: Path) -> float | None:
    # -1 microseconds means no limit.
    return _ratio([*_lines(group / "cpu.cfs_quota_us"), *_lines(group / "cpu.cfs_period_us")])


def _ratio(numbers: list[str]) -> float | None:
    """Return quota / period of ``[quota, period]``, or ``None`` if there is no limit."""
    if len(numbers) != 2 or not all(number.isdecimal() and int(number) for number in numbers):
        return None
    quota, period = map(int, numbers)
    return quota / period


def _lines(file: Path) -> list[str]:
    """Return the lines of a file; none if it cannot be read, as on a system without control groups."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
