"""What the verbs that measure share: a sign of life, what options mean, data, progress bar, results."""

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
SMOKE_TEST = "smoke test: the figures mean nothing and are not to be compared"


class Measuring(TyperCommand):
    """A verb that says at once that it has begun: loading torch takes seconds, and more on a busy machine."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb, after a line on standard error."""
        typer.echo(f"{ctx.command_path}: loading …", err=True)
        return super().invoke(ctx)


@dataclass(frozen=True)
class Results:
    """Where what an experiment finds is written.

    Attributes
    ----------
    out, json_file
        Folder for results.json, table.md and figures, and a second file for the JSON.
    device
        Where it learns.
    quick
        Whether its figures are a smoke test, which table, JSON and figures then say.
    """

    out: Path
    json_file: Path | None
    device: Any
    quick: bool

    @property
    def runs(self) -> Path:
        """Folder of what is kept to go on from; a quick run leaves alone what took a full one hours."""
        return self.out / ("runs-quick" if self.quick else "runs")

    def write(self, rows: Sequence[Mapping[str, Any]], **beside: object) -> None:
        """Write results.json, and the file that was asked for beside it, as far as they have come."""
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
        """Show a table, or some columns of it, and write it and the figures."""
        from ffstream.measuring import report

        shown = columns or [column for column in table[0] if column not in PROSE]
        report.show(f"{title} (smoke test)" if self.quick else title, table, shown)
        if self.quick:
            typer.echo(SMOKE_TEST)
        note = f"**{SMOKE_TEST.capitalize()}.**\n\n" if self.quick else ""
        (self.out / "table.md").write_text(note + report.markdown(table), "utf-8")
        for name, figure in drawn.items():
            if self.quick:
                figure.suptitle("smoke test: not to be compared", fontsize="small")
            figure.savefig(self.out / f"{name}.png", dpi=150)
        typer.echo(f"results.json, table.md and figures are in {self.out}")


def titled(title: str, *, quick: bool) -> str:
    """Return the title of a benchmark's table, which says where a run was quick."""
    return f"{title} (quick run: few cases, each timed briefly)" if quick else title


def bar() -> Progress:
    """Make a progress bar with a field for the error so far."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    description, error = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[error]}"))
    # What counts lives or runs can stand still for minutes; the spinner shows that it goes on.
    return Progress(SpinnerColumn(), description, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), error)


@contextmanager
def goes_on() -> Iterator[None]:
    """Say, when it is interrupted, that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from here", err=True)
        raise typer.Exit(130) from None


def load_data(name: str, root: Path, *, quick: bool) -> tuple[str, Dataset]:
    """Load a data set, or a few bundled digits for a quick run; return what was loaded, and its name."""
    from dataclasses import replace

    from ffstream.data import datasets

    if not quick:
        return name, datasets.load(name, root)
    digits = datasets.load("digits", root)
    return "digits", replace(digits, train=(digits.train[0][:512], digits.train[1][:512]))


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
