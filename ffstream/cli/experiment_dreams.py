"""``ffstream experiment dreams``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ffstream.cli.measuring import bar, load_data, say, write
from ffstream.cli.options import Batch, DataRoot, DatasetName, Device, JsonFile, Out, Quick, Seeds


def dreams(
    dataset: DatasetName = "digits",
    data_root: DataRoot = Path("data"),
    net: Annotated[str | None, typer.Option(help="784-512-512, 784-3x1000, …; two layers of 512 by default.")] = None,
    batch: Batch = 64,
    seeds: Seeds = None,
    out: Out = Path("dreams"),
    quick: Quick = False,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Live through a stream once, and sleep on 10,000 remembered samples, on dreams alone, or on both.

    Where sleep is on dreams alone, no sample is stored. In the end a logistic regression that has learned real images
    reads 100 dreams of each label: it knows nothing of the network.

        ffstream experiment dreams --dataset mnist --data-root data
    """
    import math
    from dataclasses import asdict

    from ffstream.experiments import dreams as measuring
    from ffstream.experiments.run import settle

    data = load_data(dataset, data_root, quick=quick)
    place = settle(device)
    name, times = net or f"{math.prod(data.shape)}-512-512", seeds or (1 if quick else 3)
    plan = measuring.Plan(data, name, batch, times, not quick, str(place))
    found: list[dict[str, Any]] = []
    with bar() as progress:
        task = progress.add_task("lives", total=plan.total, error="")
        for row in measuring.measure(plan, lambda: progress.advance(task)):
            found.append(asdict(row))
            write(out, json_file, place, found, dataset=dataset, net=name, batch=batch)
    say(f"One pass over {dataset}, asleep every four steps", measuring.table(found), out, {})
