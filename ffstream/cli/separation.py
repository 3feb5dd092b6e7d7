"""``ffstream experiment phase-separation``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ffstream.cli.measuring import Results, bar, count_seeds, load_data, names
from ffstream.cli.options import DataRoot, DatasetName, Device, JsonFile, Out, Quick, Seeds

OURS = "together,remembered,relative,plain,slow"


def phase_separation(
    dataset: DatasetName = "digits",
    data_root: DataRoot = Path("data"),
    arms: Annotated[str, typer.Option(help="NAME,…: recipes to run; or all.")] = OURS,
    negatives: Annotated[
        str, typer.Option(help="NAME,…: negatives for sleep, of relabel, masks and dream.")
    ] = "relabel",
    steps_per_phase: Annotated[str, typer.Option(help="K,…: phase lengths to try, in steps.")] = "1,4,16,64,128,1000",
    passes: Annotated[int, typer.Option(min=1, help="Passes over the training images, awake.")] = 8,
    seeds: Seeds = None,
    out: Out = Path("phase-separation"),
    quick: Quick = False,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Keep wake and sleep apart for K steps each, and measure how much of the learning remains.

    Wake raises the goodness of real data, sleep lowers that of negatives: remembered inputs under a wrong label
    (relabel), mixed with each other (masks), or the network's own (dream). Recipes:

    together: both signs in each step. plain: the daemon's defaults. remembered: [optimizer] counter, which also makes
    the other phase's mean move. relative: [network] against = "labels". slow: low rate, high momentum. published: the
    experiment of arXiv 2310.18647, 50 steps a batch. remembered-…: one ingredient changed.

    ```
    ffstream experiment phase-separation --quick
    ffstream experiment phase-separation --dataset mnist --data-root data --seeds 3
    ```
    """
    from dataclasses import asdict

    from ffstream.experiments import figures, separation
    from ffstream.experiments.run import settle
    from ffstream.experiments.sleepers import ARMS

    place = settle(device)
    results = Results(out, json_file, place, quick)
    dataset, data = load_data(dataset, data_root, quick=quick)
    plan = separation.Plan(
        data,
        list(ARMS) if arms == "all" else names(arms),
        names(negatives),
        [_steps(text) for text in names(steps_per_phase)],
        count_seeds(seeds, quick=quick),
        passes,
        str(place),
        compiled=not quick,
    )
    found = []
    with bar() as progress:
        task = progress.add_task("lives", total=len(plan.cells), error="")
        for row in separation.measure(plan, lambda name: progress.update(task, description=name)):
            progress.advance(task)
            found.append(asdict(row))
            results.write(found, dataset=dataset)
    title = f"Test accuracy on {dataset} at the end of wake / of sleep, %"
    results.say(title, separation.table(found), {"separation": figures.separation(found)})


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter(
            f"expected whole numbers from 1, for example 1,16,128; got {text!r}", param_hint="--steps-per-phase"
        )
    return int(text)
