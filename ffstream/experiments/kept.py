"""Files that hold the results of an experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def keep(file: Path, write: Callable[[Path], object]) -> None:
    """Write a draft, then rename it to the file, so that an interruption leaves the old file or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    write(draft)
    draft.replace(file)
