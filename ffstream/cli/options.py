"""Options that every command which measures has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write rows and environment to this file.")]
FigureFile = Annotated[Path | None, typer.Option("--figure", help="Draw the result to this PNG or SVG file.")]
Quick = Annotated[bool, typer.Option("--quick", help="A few cases, within a minute.")]
