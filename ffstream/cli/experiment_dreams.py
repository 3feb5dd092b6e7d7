"""``ffstream experiment dreams``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ffstream.cli.measuring import Results, bar, count_seeds, load_data, net_of
from ffstream.cli.options import Batch, DataRoot, DatasetName, Device, JsonFile, Net, Out, Quick, Seeds


def dreams(
    dataset: DatasetName = "digits",
    data_root: DataRoot = Path("data"),
    net: Net = None,
    batch: Batch = 64,
    seeds: Seeds = None,
    out: Out = Path("dreams"),
    quick: Quick = False,
    device: Device = "auto",
    json_file: JsonFile = None,
) -> None:
    """Learn a stream in one pass, and sleep on 10,000 remembered samples, on dreams only, or on both.

    If sleep is on dreams only, no sample is stored. At the end, a logistic regression trained on real images classifies
    100 dreams of each label, independently of the network.

    ```
    ffstream experiment dreams --dataset mnist --data-root data
    ```
    """
    from dataclasses import asdict

    from ffstream.experiments import dreams as measuring
    from ffstream.experiments.run import settle

    dataset, data = load_data(dataset, data_root, quick=quick)
    place = settle(device)
    results = Results(out, json_file, place, quick)
    name, times = net_of(net, data), count_seeds(seeds, quick=quick)
    plan = measuring.Plan(data, name, batch, times, not quick, str(place))
    found: list[dict[str, Any]] = []
    with bar() as progress:
        task = progress.add_task("lives", total=plan.total, error="")
        for row in measuring.measure(plan, lambda: progress.advance(task)):
            found.append(asdict(row))
            results.write(found, dataset=dataset, net=name, batch=batch)
    results.say(f"One pass over {dataset}, asleep every four steps", measuring.table(found), {})
