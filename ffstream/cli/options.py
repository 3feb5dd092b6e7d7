"""Options that every command which measures has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonFile = Annotated[Path | None, typer.Option("--json", help="Write rows and environment to this file.")]
FigureFile = Annotated[Path | None, typer.Option("--figure", help="Draw the result to this PNG or SVG file.")]
Quick = Annotated[bool, typer.Option("--quick", help="A few cases, within a minute.")]
Device = Annotated[str, typer.Option(help='"auto" takes a GPU where there is one; or "cpu", "cuda".')]
DatasetName = Annotated[str, typer.Option(help="digits (bundled), mnist, fashion-mnist, kmnist or usps.")]
DataRoot = Annotated[Path, typer.Option(help="Folder of torchvision's data sets.")]
Net = Annotated[str | None, typer.Option(help="784-512-512, 784-3x1000, …; two layers of 512 by default.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Runs of each, with seeds 0, 1, …")]
Batch = Annotated[int, typer.Option(min=1, max=1024, help="Samples a step.")]
Out = Annotated[Path, typer.Option(help="Folder for results.json, table.md and figures.")]
