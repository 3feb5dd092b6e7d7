"""Files that keep what an experiment has come to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def keep(file: Path, write: Callable[[Path], object]) -> None:
    """Have a file written beside its place, then put it there: an interruption leaves the old one, or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    write(draft)
    draft.replace(file)
