"""Helpers shared by the verbs that measure: a sign of life, option defaults, data, progress bar, results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.progress import Progress

    from ffstream.data.datasets import Dataset

# Columns of a table that are too wide for a terminal.
PROSE = ("what", "source")
SMOKE_TEST = "smoke test: the figures mean nothing and must not be compared"


class Measuring(TyperCommand):
    """A verb that immediately prints a line, because loading torch takes seconds, and more on a busy machine."""

    def invoke(self, ctx: Any) -> Any:
        """Print a line on standard error, then run the verb."""
        typer.echo(f"{ctx.command_path}: loading …", err=True)
        return super().invoke(ctx)


@dataclass(frozen=True)
class Results:
    """Destination of an experiment's results.

    Attributes
    ----------
    out, json_file
        Folder for results.json, table.md and figures, and a second file for the JSON.
    device
        Device of the experiment.
    quick
        True for a smoke test; the table, the JSON and the figures then say so.
    """

    out: Path
    json_file: Path | None
    device: Any
    quick: bool

    @property
    def runs(self) -> Path:
        """Folder of the results kept for resuming; a quick run does not touch those of a full run, which took hours."""
        return self.out / ("runs-quick" if self.quick else "runs")

    def write(self, rows: Sequence[Mapping[str, Any]], **beside: object) -> None:
        """Write the results so far to results.json, and to the JSON file if one was given."""
        from ffstream.measuring import report
        from ffstream.measuring.environment import environment

        self.out.mkdir(parents=True, exist_ok=True)
        smoke_test = SMOKE_TEST if self.quick else None
        for file in (self.out / "results.json", self.json_file):
            report.write(file, environment(self.device), smoke_test=smoke_test, **beside, rows=rows)

    def say(
        self,
        title: str,
        table: Sequence[Mapping[str, str]],
        drawn: Mapping[str, Figure],
        columns: Sequence[str] | None = None,
    ) -> None:
        """Show a table, or some of its columns, and write the table and the figures."""
        from ffstream.measuring import report

        shown = columns or [column for column in table[0] if column not in PROSE]
        report.show(f"{title} (smoke test)" if self.quick else title, table, shown)
        if self.quick:
            typer.echo(SMOKE_TEST)
        note = f"**{SMOKE_TEST.capitalize()}.**\n\n" if self.quick else ""
        (self.out / "table.md").write_text(note + report.markdown(table), "utf-8")
        for name, figure in drawn.items():
            if self.quick:
                figure.suptitle("smoke test: do not compare", fontsize="small")
            figure.savefig(self.out / f"{name}.png", dpi=150)
        typer.echo(f"results.json, table.md and figures are in {self.out}")


def titled(title: str, *, quick: bool) -> str:
    """Return the title of a benchmark's table, marked if the run was quick."""
    return f"{title} (quick run: few cases, each timed briefly)" if quick else title


def bar() -> Progress:
    """Create a progress bar with a field for the error so far."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    description, error = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[error]}"))
    # A bar that counts lives or runs can stand still for minutes; the spinner shows that work continues.
    return Progress(SpinnerColumn(), description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), error)


@contextmanager
def goes_on() -> Iterator[None]:
    """On an interrupt, say that the same command resumes."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues from here", err=True)
        raise typer.Exit(130) from None


def load_data(name: str, root: Path, *, quick: bool) -> tuple[str, Dataset]:
    """Load a data set, or a few bundled digits for a quick run; return its name and the data."""
    from dataclasses import replace

    from ffstream.data import datasets

    if not quick:
        return name, datasets.load(name, root)
    digits = datasets.load("digits", root)
    return "digits", replace(digits, train=(digits.train[0][:512], digits.train[1][:512]))


def net_of(name: str | None, data: Dataset) -> str:
    """Return the given net, or two layers of 512 above the images."""
    import math

    return name or f"{math.prod(data.shape)}-512-512"


def count_seeds(seeds: int | None, *, quick: bool) -> int:
    """Return the given number of seeds, or else one for a quick run and three for any other."""
    return seeds or (1 if quick else 3)


def names(listed: str) -> list[str]:
    """Read a list of names, NAME,NAME."""
    return [name.strip() for name in listed.split(",") if name.strip()]
