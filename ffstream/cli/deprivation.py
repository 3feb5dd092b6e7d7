"""``ffstream experiment sleep-deprivation``: measures what a network loses without sleep, and its recovery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ffstream.cli.measuring import SMOKE_TEST, Results, bar, goes_on, names
from ffstream.cli.options import DataRoot, Device, JsonFile, Seeds, at_home, readable_address, to_fill

if TYPE_CHECKING:
    from rich.progress import Progress

    from ffstream.config import Config
    from ffstream.data.datasets import Dataset
    from ffstream.experiments.deprivation.plan import Plan, Recipe
    from ffstream.experiments.deprivation.run import Enrol

# Columns of the table that fit on a terminal.
SHOWN = ("recipe", "arm", "points lost", "false accepts, %", "sleep steps to recover")


def sleep_deprivation(
    plan_file: Annotated[
        Path | None, typer.Option("--plan", help="TOML file with the plan; a bundled one by default.", callback=at_home)
    ] = None,
    print_plan: Annotated[bool, typer.Option("--print-plan", help="Print the bundled plan, to copy and edit.")] = False,
    arms: Annotated[str, typer.Option(help="NAME,…: arms of the plan to run; all by default.")] = "",
    recipes: Annotated[str, typer.Option(help="NAME,…: recipes of the plan to run; all by default.")] = "",
    seeds: Seeds = None,
    dataset: Annotated[str, typer.Option(help="Data set to use instead of the plan's.")] = "",
    data_root: DataRoot = Path("data"),
    live: Annotated[
        bool, typer.Option("--live", help="Run daemons over their sockets, instead of in process.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a running daemon that has learned nothing yet; implies --live.",
            callback=readable_address,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for results.json, curves.csv, figures and report.html.", callback=to_fill)
    ] = Path("sleep-deprivation"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Run the bundled quick plan: digits, within a minute.")
    ] = False,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Deprive a network of sleep, or of waking, and then release it: dose, response, recovery, oversleep.

    Every recipe of the plan first lives a rested life; every arm starts from a copy of the resulting network. To resume
    an interrupted experiment, give the same command again. With --live, each recipe and seed is a separate daemon, fed,
    queried and commanded over its sockets, and each arm starts with a rollback. A daemon given by --address keeps the
    checkpoint that arms were rolled back to.

    ```
    ffstream experiment sleep-deprivation --quick
    ffstream experiment sleep-deprivation --data-root data --seeds 3
    ffstream experiment sleep-deprivation --print-plan > own.toml
    ```
    """
    import shlex
    import sys
    from dataclasses import asdict

    from ffstream.data import datasets
    from ffstream.experiments.deprivation import plan as planning
    from ffstream.experiments.deprivation import summary
    from ffstream.experiments.deprivation.run import Experiment
    from ffstream.stream.device import device_of

    if print_plan:
        typer.echo(planning.text(quick=quick), nl=False)
        return
    plan = planning.load(plan_file, quick=quick).only(arms=names(arms), recipes=names(recipes))
    changes: dict[str, Any] = {"seeds": seeds, "dataset": dataset}
    plan = planning.changed(plan, {key: value for key, value in changes.items() if value})
    data = datasets.load(plan.dataset, data_root)
    results = Results(out, json_file, device_of(device), quick and plan_file is None)
    where, enrol = _subjects(plan, data, device, address, live=live)
    command = shlex.join(["ffstream", *sys.argv[1:]])
    rows: Sequence[Mapping[str, Any]] = []
    with goes_on(), bar() as progress:
        watcher = _Watcher(progress, len(plan.recipes) * plan.seeds * (1 + len(plan.arms)))
        for rows in Experiment(plan, data, enrol, [where], results.runs, watcher).carry_out():
            outcomes = [asdict(outcome) for outcome in summary.outcomes(plan, rows)]
            told = plan.model_dump(mode="json", exclude_unset=True)
            results.write(outcomes, command=command, plan=told)
            summary.write_curves(out / "curves.csv", rows)
    _report(plan, rows, results, command)


def _subjects(plan: Plan, data: Dataset, device: str, address: str | None, *, live: bool) -> tuple[str, Enrol]:
    """Return the place where the subjects live, and the function that enrolls them."""
    from ffstream.experiments.deprivation import lives

    def configure(recipe: Recipe, seed: int) -> Config:
        return plan.config(recipe, data, seed, device)

    for recipe in plan.recipes.values():
        configure(recipe, 0)
    if address:
        return address, lives.running(address, plan, data)
    return ("live", lives.started(configure)) if live else ("in process", lives.in_process(configure))


def _report(plan: Plan, rows: Sequence[Mapping[str, Any]], results: Results, command: str) -> None:
    """Draw the figures, write the HTML page, and show the table."""
    from ffstream.experiments.deprivation import figures, page, summary
    from ffstream.measuring.environment import environment

    found = summary.outcomes(plan, rows)
    pictures = figures.all_of(plan, rows, found)
    drawn = {name: picture.figure for name, picture in pictures.items()}
    results.say(f"Sleep deprivation on {plan.dataset}", summary.table(found), drawn, SHOWN)
    for name, figure in drawn.items():
        figure.savefig(results.out / f"{name}.svg")
    note = SMOKE_TEST if results.quick else ""
    html = page.write(plan, found, pictures, command, environment(results.device), note)
    (results.out / "report.html").write_text(html, "utf-8")
    typer.echo("report.html, curves.csv and the figures as SVG are there too")


class _Watcher:
    """Shows the progress of all lives, and of the current stretch."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.all = progress.add_task("all lives", total=total, error="")
        self.one = progress.add_task("", error="", visible=False)

    def begins(self, what: str, steps: int) -> None:
        """Start a new stretch."""
        self.progress.reset(self.one, total=steps, visible=True)
        self.progress.update(self.one, description=what)

    def lived(self, steps: int) -> None:
        """Advance the current stretch."""
        self.progress.advance(self.one, steps)

    def over(self, lives: int) -> None:
        """Show the number of finished lives."""
        self.progress.update(self.all, completed=lives)
