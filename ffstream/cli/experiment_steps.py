"""``ffstream experiment steps``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ffstream.cli.measuring import Results, bar, count_seeds
from ffstream.cli.options import JsonFile, Out, Quick, Seeds


def steps(
    shapes: Annotated[int, typer.Option(min=0, help="Number of additional shapes, drawn at random.")] = 0,
    samples: Annotated[int, typer.Option(min=64, help="Samples per stream.")] = 3_200,
    seeds: Seeds = None,
    out: Out = Path("steps"),
    quick: Quick = False,
    json_file: JsonFile = None,
) -> None:
    """Try the derived step size on networks of many shapes, against three step sizes set by hand.

    A shape is a width, a depth, a number of labels, a batch, a scale of the inputs, a label coding and a kind of layer.
    They vary one at a time; --shapes draws more from all combinations. The table begins with the shapes in which the
    derived step size falls furthest below the best of those set by hand. Half and twice the derived one are also shown.
    Accuracy is measured on inputs held out of the training data; test images are not used.

    ```
    ffstream experiment steps --seeds 1
    ffstream experiment steps --shapes 200 --seeds 1
    ```
    """
    from dataclasses import asdict

    from ffstream.data import datasets
    from ffstream.experiments import steps as measuring
    from ffstream.experiments.run import settle

    results = Results(out, json_file, settle("cpu"), quick)
    tried = [*measuring.vary_shapes(), *measuring.draw_shapes(shapes)]
    digits = datasets.load("digits", Path())
    count = 256 if quick else samples
    plan = measuring.Plan(tried, count, count_seeds(seeds, quick=quick), measuring.RATES, measuring.MULTIPLES, digits)
    found: list[dict[str, Any]] = []
    with bar() as progress:
        task = progress.add_task("runs", total=plan.total, error="")
        for row in measuring.measure(plan, lambda: progress.advance(task)):
            found.append(asdict(row))
            results.write(found, samples=count, rates=measuring.RATES, multiples=measuring.MULTIPLES)
    results.say("Held-out accuracy by step size, %", measuring.table(found), {})
