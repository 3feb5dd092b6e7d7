"""What the verbs that draw share: the file that a picture goes to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 200


def check_name(out: Path) -> None:
    """Refuse a file that no picture can be drawn to, before there is one."""
    if out.suffix not in (".png", ".svg", ".pdf"):
        raise typer.BadParameter(f"--out: {out.name!r} is not the name of a .png, .svg or .pdf file")


def save(figure: Figure, out: Path) -> None:
    """Draw a picture to a file, and say so."""
    try:
        figure.savefig(out, dpi=DOTS_PER_INCH)
    except OSError as error:
        raise typer.BadParameter(f"--out: {out} cannot be written: {error.strerror}") from error
    typer.echo(f"drawn to {out}")
