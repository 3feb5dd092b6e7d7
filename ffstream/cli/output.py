"""Output helpers shared by the verbs: text on the terminal, and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """Return the console to print to. It treats names and messages from outside as plain text: no markup, no emoji."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON, with NaN and infinity as null, because JSON has neither."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def write_json(file: Path | None, value: Any) -> None:
    """Write a value as JSON, if a file is given."""
    if file is not None:
        file.write_text(to_json(value, indent=1) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
