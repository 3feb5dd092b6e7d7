"""Result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    name
        Name of the check.
    verdict
        ``ok``; ``warn``: the daemon runs, but slower, or with a risk; ``fail``: it does not run, or will not for long.
    found
        Facts that the check found.
    advice
        What to do about it; empty if all is well.
    """

    name: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def size(count: float) -> str:
    """Format a number of bytes for people: ``1.5 GiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
