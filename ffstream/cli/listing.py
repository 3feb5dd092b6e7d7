"""Table of the checkpoints of a running daemon or a directory."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ffstream.cli.output import console

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def show(checkpoints: Sequence[Mapping[str, Any]]) -> None:
    """Print ``Entry.facts`` of each checkpoint, in the given order."""
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in ("name", "version", "samples learned", "accuracy", "age", "size", "pinned"):
        table.add_column(column, justify="left" if column in ("name", "pinned") else "right")
    for one in checkpoints:
        size, pinned = decimal(one["bytes"]), "pinned" if one["pinned"] else ""
        if one["error"]:
            table.add_row(one["name"], Text("damaged", "red"), "", "", "", size, pinned)
        else:
            accuracy = "" if math.isnan(one["prequential"]) else f"{one['prequential']:.2%}"
            counts = f"{one['version']:,}", f"{one['samples_learned']:,}"
            table.add_row(one["name"], *counts, accuracy, age(time.time() - one["saved_at"]), size, pinned)
    console().print(table, *(Text(one["error"], "red") for one in checkpoints if one["error"]), sep="\n")


def age(seconds: float) -> str:
    """Format a time in the largest unit that it fills."""
    name, unit = next((pair for pair in _UNITS if seconds >= pair[1]), ("s", 1))
    return f"{max(0, seconds) / unit:.0f} {name}"
