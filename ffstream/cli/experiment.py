"""``ffstream experiment``: measures what Forward-Forward learns, against published results and backprop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ffstream.cli.deprivation import sleep_deprivation
from ffstream.cli.experiment_dreams import dreams
from ffstream.cli.experiment_steps import steps
from ffstream.cli.measuring import Measuring, Results, bar, count_seeds, goes_on, load_data, names, net_of
from ffstream.cli.options import Batch, DataRoot, DatasetName, Device, JsonFile, Net, Out, Quick, Seeds, at_home
from ffstream.cli.separation import phase_separation

if TYPE_CHECKING:
    from rich.progress import Progress

    from ffstream.experiments.row import Row

experiment = typer.Typer(
    name="experiment",
    no_args_is_help=True,
    help="Measure what is learned.\n\nEach experiment writes results.json, table.md and figures to a folder. The "
    "test error is the one after the last pass, never the best of several.",
)

experiment.command(cls=Measuring)(sleep_deprivation)
experiment.command(cls=Measuring)(phase_separation)
experiment.command(cls=Measuring)(dreams)
experiment.command(cls=Measuring)(steps)

# Keys of [network] that `goodness` compares.
KEYS = ("goodness", "activation")


@experiment.command(cls=Measuring)
def reproduce(
    rows: Annotated[str, typer.Option(help="NAME,…: rows to run, in this order; all by default.")] = "",
    rows_dir: Annotated[
        Path | None, typer.Option(help="Folder of your own rows, one TOML file per row.", callback=at_home)
    ] = None,
    data_root: DataRoot = Path("data"),
    out: Out = Path("reproduction"),
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of runs per row, instead of the row's own.")] = None,
    quick: Quick = False,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Reproduce published test errors, row by row, along with backprop and a frozen trunk.

    To resume an interrupted reproduction, give the same command again; a row that has changed in the meantime starts
    over. --quick shows that every row works, on a few bundled digits, offline; its figures mean nothing.

    ```
    ffstream experiment reproduce --quick
    ffstream experiment reproduce --rows article-overlay,assembly,backprop --data-root data
    ```
    """
    from ffstream.experiments import figures, reproduction
    from ffstream.experiments.row import find
    from ffstream.experiments.run import settle

    chosen = find(rows_dir, names(rows))
    results = Results(out, json_file, settle(device), quick)
    plan = reproduction.Plan(chosen, data_root, results.runs, results.device, seeds, quick)
    found: list[dict[str, Any]] = []
    with goes_on(), bar() as progress:
        watcher = _Watcher(progress, plan.total)
        for found in reproduction.reproduce(plan, watcher):
            watcher.over()
            results.write(found)
    drawn = {"errors": figures.errors_by_pass(found)}
    if not quick:
        drawn["beside-published"] = figures.beside_published(found)
    results.say("Test error after the last pass", reproduction.table(found), drawn)


@experiment.command(cls=Measuring)
def prequential(
    dataset: DatasetName = "digits",
    data_root: DataRoot = Path("data"),
    net: Net = None,
    batch: Batch = 16,
    seeds: Seeds = None,
    backprop_rate: Annotated[
        list[float] | None, typer.Option(min=1e-9, help="Step sizes that backprop chooses from; may be repeated.")
    ] = None,
    out: Out = Path("prequential"),
    quick: Quick = False,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Compare Forward-Forward to backprop with Adam in one pass over a stream: shuffled, sorted by class, drifting.

    Each sample is predicted, then learned. Forward-Forward has its defaults, once with naps and once with both signs in
    each step. Backprop has the same widths and batches, and the step size that does best on the first seed of that
    stream. Drifting images rotate by 90 degrees in total, and are tested in their final orientation.

    ```
    ffstream experiment prequential --dataset mnist --data-root data --seeds 5
    ```
    """
    from dataclasses import asdict

    from ffstream.experiments import figures
    from ffstream.experiments import prequential as measuring
    from ffstream.experiments.run import settle

    dataset, data = load_data(dataset, data_root, quick=quick)
    place = settle(device)
    results = Results(out, json_file, place, quick)
    name, times = net_of(net, data), count_seeds(seeds, quick=quick)
    rates = backprop_rate or list(measuring.RATES)
    plan = measuring.Plan(data, name, batch, times, not quick, str(place), rates)
    found: list[dict[str, Any]] = []
    with bar() as progress:
        task = progress.add_task("streams", total=plan.total, error="")
        for row in measuring.measure(plan, lambda: progress.advance(task)):
            found.append(asdict(row))
            results.write(found, dataset=dataset, net=name, batch=batch)
    results.say(f"One pass over {dataset}", measuring.table(found), {"curves": figures.prequential(found)})


@experiment.command(cls=Measuring)
def goodness(
    dataset: DatasetName = "digits",
    data_root: DataRoot = Path("data"),
    passes: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Number of passes, a table for each; may be repeated. 1 and 8 by default."),
    ] = None,
    goodness: Annotated[
        list[str] | None, typer.Option(help="Goodness to try; may be repeated. All by default.")
    ] = None,
    activation: Annotated[
        list[str] | None, typer.Option(help="Activation to try; may be repeated. All by default.")
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option(min=1e-9, help="Step sizes that each cell chooses from; may be repeated.")
    ] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(help="Thresholds that each cell chooses from; may be repeated.")
    ] = None,
    batch: Batch = 64,
    seeds: Seeds = None,
    out: Out = Path("goodness"),
    quick: Quick = False,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Compare every goodness with every activation: test accuracy after some passes, each cell at its own best rate.

    The rate and the threshold are those that do best on training images held out while they are chosen. To resume an
    interrupted table, give the same command again.

    ```
    ffstream experiment goodness --dataset mnist --data-root data --passes 1 --passes 8
    ```
    """
    from ffstream.experiments import choices, figures
    from ffstream.experiments.run import settle

    place = settle(device)
    results = Results(out, json_file, place, quick)
    dataset, data = load_data(dataset, data_root, quick=quick)
    plan = choices.Plan(
        keys=KEYS,
        choices=(goodness or choices.known(KEYS[0]), activation or choices.known(KEYS[1])),
        passes=passes or ([1] if quick else [1, 8]),
        rates=rate or ([1.5e-3] if quick else list(choices.RATES)),
        thresholds=[_number(value) for value in threshold or []],
        seeds=count_seeds(seeds, quick=quick),
        data=data,
        dataset=dataset,
        batch=batch,
        runs=results.runs,
        device=place,
    )
    found: list[dict[str, Any]] = []
    with goes_on(), bar() as progress:
        watcher = _Watcher(progress, plan.total)
        for found in choices.measure(plan, watcher):
            watcher.over()
            results.write(found, dataset=dataset, batch=batch)
    drawn = {"heat-map": figures.heat_map(found, KEYS)}
    results.say(f"Test accuracy on {dataset}, %", choices.table(found, KEYS), drawn)


@experiment.command(cls=Measuring)
def recurrent(
    data_root: DataRoot = Path("data"),
    hidden: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Units of a hidden layer, from the image up; repeat the option for the next layer."),
    ] = None,
    passes: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images per learning step.")] = None,
    seeds: Seeds = None,
    iterations: Annotated[int | None, typer.Option(min=5, help="Number of iterations of the layers per batch.")] = None,
    rate: Annotated[float | None, typer.Option(min=1e-9, help="Step size.")] = None,
    out: Out = Path("recurrent"),
    quick: Quick = False,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Learn MNIST with the recurrent network, whose layers also see the layers above them.

    A still image is treated as a video: at every iteration all hidden layers move at once, between the image below and
    a label above. The predicted label is the one with the most goodness in iterations 3 to 5. Options that are not
    given are as in the bundled row recurrent. --quick learns a few bundled digits, offline; its figures mean nothing.

    ```
    ffstream experiment recurrent --quick
    ffstream experiment recurrent --data-root data --hidden 500 --hidden 500 --passes 10 --seeds 1
    ```
    """
    from ffstream.experiments import figures, reproduction
    from ffstream.experiments import iterations as measuring
    from ffstream.experiments.run import settle
    from ffstream.measuring import report

    place = settle(device)
    results = Results(out, json_file, place, quick)
    name, data = load_data("mnist", data_root, quick=quick)
    given = _given(passes=passes, batch=batch, iterations=iterations)
    row = measuring.declare(data, name, given, network=_given(hidden=hidden), optimizer=_given(rate=rate))
    found: dict[str, Any] = {}
    times = seeds or (1 if quick else row.seeds)
    with bar() as progress:
        watcher = _Watcher(progress, times)
        for found in measuring.measure(row, data, times, place, watcher):
            watcher.over()
            results.write([found])
    by_iteration = measuring.table(found)
    report.show("By iteration", by_iteration, list(by_iteration[0]))
    drawn = {"errors": figures.errors_by_pass([found]), "iterations": figures.by_iteration(found)}
    results.say("Test error after the last pass", reproduction.table([found]), drawn)


class _Watcher:
    """Shows the progress of all runs, and of the current run with its test error."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress = progress
        self.all = progress.add_task("all runs", total=total, error="")
        self.one = progress.add_task("", error="", visible=False)
        self.begun = 0

    def begins(self, row: Row, seed: int, batches: int, done: int) -> None:
        """Start a new run; earlier runs are over."""
        self.over()
        self.begun += 1
        self.progress.reset(self.one, total=batches, completed=done, visible=True)
        self.progress.update(self.one, description=f"{row.name}, seed {seed}", error="")

    def over(self) -> None:
        """Show that all runs begun so far are over."""
        self.progress.update(self.all, completed=self.begun)

    def learned(self) -> None:
        """Advance by one batch."""
        self.progress.advance(self.one)

    def tested(self, error: float) -> None:
        """Show the test error after a pass."""
        self.progress.update(self.one, error=f"test error {error:.2f} %")


def _given(**values: object) -> dict[str, object]:
    """Return the options that were given."""
    return {key: value for key, value in values.items() if value is not None}


def _number(value: str) -> float | str:
    """Convert to a number if possible, or else return the name unchanged."""
    try:
        return float(value)
    except ValueError:
        return value
