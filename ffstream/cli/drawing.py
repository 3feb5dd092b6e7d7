"""Helpers shared by the verbs that draw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 200


def save(figure: Figure, out: Path) -> None:
    """Save a picture to a file, and report it."""
    figure.savefig(out, dpi=DOTS_PER_INCH)
    typer.echo(f"drawn to {out}")
