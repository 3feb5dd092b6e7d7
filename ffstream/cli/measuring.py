"""What the verbs of ``ffstream experiment`` share: what options mean, data, progress bar, results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.progress import Progress

    from ffstream.data.datasets import Dataset

# Columns of a table that are too wide for a terminal.
PROSE = ("what", "source")


def bar() -> Progress:
    """Make a progress bar with a field for the error so far."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    description, error = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[error]}"))
    return Progress(description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), error)


@contextmanager
def goes_on() -> Iterator[None]:
    """Say, when it is interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(130) from None


def write(out: Path, json_file: Path | None, device: Any, rows: Sequence[Mapping[str, Any]], **beside: object) -> None:
    """Write results.json, and the file that was asked for beside it, as far as they have come."""
    from ffstream.measuring import report
    from ffstream.measuring.environment import environment

    out.mkdir(parents=True, exist_ok=True)
    for file in (out / "results.json", json_file):
        report.write(file, environment(device), **beside, rows=rows)


def say(title: str, table: Sequence[Mapping[str, str]], out: Path, drawn: Mapping[str, Figure]) -> None:
    """Show a table, and write it and the figures."""
    from ffstream.measuring import report

    report.show(title, table, [column for column in table[0] if column not in PROSE])
    (out / "table.md").write_text(report.markdown(table), "utf-8")
    for name, figure in drawn.items():
        figure.savefig(out / f"{name}.png", dpi=150)
    typer.echo(f"results.json, table.md and figures are in {out}")


def load_data(name: str, root: Path, *, quick: bool) -> Dataset:
    """Load a data set, or a few bundled digits for a quick run."""
    from dataclasses import replace

    from ffstream.data import datasets

    if not quick:
        return datasets.load(name, root)
    digits = datasets.load("digits", root)
    return replace(digits, train=(digits.train[0][:512], digits.train[1][:512]))


def net_of(name: str | None, data: Dataset) -> str:
    """Return the net that is named, or two layers of 512 above the images."""
    import math

    return name or f"{math.prod(data.shape)}-512-512"


def count_seeds(seeds: int | None, *, quick: bool) -> int:
    """Return how many seeds are asked for, or else one for a quick run and three for any other."""
    return seeds or (1 if quick else 3)


def names(listed: str) -> list[str]:
    """Read a list of names, NAME,NAME."""
    return [name.strip() for name in listed.split(",") if name.strip()]
