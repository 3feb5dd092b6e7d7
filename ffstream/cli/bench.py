"""``ffstream bench``: measures speed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ffstream.cli import bench_live as live
from ffstream.cli.measuring import Measuring, titled
from ffstream.cli.options import DataRoot, DatasetName, Device, FigureFile, JsonFile, Quick, at_home

if TYPE_CHECKING:
    from ffstream.bench.peers import Peer
    from ffstream.data.datasets import Dataset

bench = typer.Typer(
    name="bench",
    no_args_is_help=True,
    help="Measure speed on this machine.\n\nContenders run in turns, so that other load on the machine affects all of "
    "them alike; compare their ratios, not times of different runs. Medians are shown; the JSON has their spread.",
)

Case = TypeVar("Case")


@bench.command(cls=Measuring)
def throughput(
    net: Annotated[
        list[str] | None, typer.Option(help="Network by its widths: 784-512-512, 784-3x1000, …; may be repeated.")
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Rows per sweep; may be repeated.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help="float32 or bfloat16; may be repeated.")] = None,
    optimizer: Annotated[
        list[str] | None, typer.Option(help="in_place, unit, factored, momentum or adam; may be repeated.")
    ] = None,
    peer: Annotated[list[str] | None, typer.Option(help="fflib, if it is installed.")] = None,
    peer_path: Annotated[
        Path | None, typer.Option(help="A checkout of loeweX/Forward-Forward.", callback=at_home)
    ] = None,
    quick: Quick = False,
    device: Device = "auto",
    json_file: JsonFile = None,
    figure: FigureFile = None,
) -> None:
    """Time learning sweeps, prediction included, against backprop with Adam and against the bare matrix products.

    Backprop has the same widths and precision, and is the faster of eager and compiled. Peers learn both signs in one
    step, and so does the sweep compared with them.

    ```
    ffstream bench throughput --quick
    ffstream bench throughput --net 784-4x2000 --batch 512 --json throughput.json
    ```
    """
    import itertools
    from dataclasses import asdict

    from ffstream.bench import figures
    from ffstream.bench import throughput as measuring
    from ffstream.measuring import report
    from ffstream.measuring.environment import environment
    from ffstream.stream.device import device_of

    place = device_of(device)
    nets = net or (["784-512-512"] if quick else list(measuring.NETS))
    batches = batch or ([16, 64] if quick else list(measuring.BATCHES))
    precisions = precision or (["float32"] if quick else list(measuring.PRECISIONS))
    rules = optimizer or (["in_place", "adam"] if quick else list(measuring.RULES))
    others = _peers(peer or [], peer_path)
    cases = list(itertools.product(nets, batches, precisions))
    rows = [asdict(row) for case in _bar(cases) for row in measuring.measure(*case, rules, place)]
    peers = [asdict(row) for one in _bar(others) for row in measuring.measure_peer(one, place)]
    report.show(
        titled("Learning sweeps: samples a second, and their ratio to backprop", quick=quick),
        rows,
        [
            *("net", "batch", "precision", "optimizer", "samples_per_second", "backprop_samples_per_second"),
            *("ratio_to_backprop", "matmul_fraction"),
        ],
    )
    if peers:
        report.show("Peers", peers, ["name", "net", "batch", "precision", "samples_per_second", "ours", "ratio"])
    report.write(json_file, environment(place), quick=quick, rows=rows, peers=peers)
    if figure is not None:
        figures.throughput(rows).savefig(figure, dpi=150)


@bench.command(cls=Measuring)
def optimizers(
    dataset: DatasetName = "digits",
    data_root: DataRoot = Path("data"),
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Samples per learning step.")] = 16,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs of each, with seeds 0, 1, …")] = 3,
    passes: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 1,
    rate_factor: Annotated[
        float, typer.Option(min=1e-6, help="Factor by which each contender's usual step size is multiplied.")
    ] = 1.0,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Rule to train: in_place, adam, backprop, …; may be repeated. All by default."),
    ] = None,
    quick: Quick = False,
    json_file: JsonFile = None,
    figure: FigureFile = None,
) -> None:
    """Train every rule on the same stream, and show accuracy against samples a second.

    Each sample is predicted before it is learned; backprop with Adam learns the same batches.

    ```
    ffstream bench optimizers --dataset mnist --data-root data --json optimizers.json --figure optimizers.png
    ```
    """
    from dataclasses import asdict
    from functools import partial

    from rich.progress import Progress

    from ffstream.bench import figures
    from ffstream.bench import optimizers as measuring
    from ffstream.measuring import report
    from ffstream.measuring.environment import environment
    from ffstream.stream.device import device_of

    data = _data(dataset, data_root, quick=quick)
    contenders = [one for one in measuring.CONTENDERS if not only or one.optimizer in only]
    plan = measuring.Plan(batch, passes, rate_factor)
    steps = -(-len(data.train[1]) // batch) * passes
    rows: list[dict[str, Any]] = []
    with Progress() as progress:
        for seed in range(1 if quick else seeds):
            advance = partial(progress.advance, progress.add_task(f"seed {seed}", total=steps))
            rows += [asdict(row) for row in measuring.compete(contenders, data, plan, seed, advance)]
    report.show(
        titled(f"{dataset}, {passes} pass(es), batches of {batch}: mean over seeds", quick=quick),
        measuring.means(rows),
        [
            *("optimizer", "precision", "rounding", "rate", "seeds"),
            *("prequential_accuracy", "test_accuracy", "samples_per_second"),
        ],
    )
    report.write(json_file, environment(device_of("cpu")), quick=quick, dataset=dataset, batch=batch, rows=rows)
    if figure is not None:
        figures.optimizers(measuring.means(rows)).savefig(figure, dpi=150)


@bench.command(cls=Measuring)
def memory(device: Device = "auto", json_file: JsonFile = None, figure: FigureFile = None) -> None:
    """Measure the peak memory of a learning step beyond weights and optimizer state, by depth of the network."""
    import itertools
    from dataclasses import asdict

    from ffstream.bench import figures
    from ffstream.bench import memory as measuring
    from ffstream.measuring import report
    from ffstream.measuring.environment import environment
    from ffstream.stream.device import device_of

    place = device_of(device)
    cases = list(itertools.product(measuring.METHODS, measuring.DEPTHS))
    rows = [asdict(measuring.measure(*case, place)) for case in _bar(cases)]
    report.show("Peak bytes of a step beyond weights and optimizer state", rows, ["method", "layers", "peak_bytes"])
    report.write(json_file, environment(place), rows=rows)
    if figure is not None:
        figures.memory(rows).savefig(figure, dpi=150)


bench.command(cls=Measuring)(live.latency)
bench.command(cls=Measuring)(live.phases)
bench.command(cls=Measuring)(live.stream)
bench.command(cls=Measuring)(live.recovery)


def _bar(cases: Sequence[Case]) -> Iterator[Case]:
    from rich.progress import track

    yield from track(cases, description="measuring", disable=not cases)


def _peers(names: Sequence[str], checkout: Path | None) -> list[Peer]:
    from ffstream.bench import peers
    from ffstream.errors import ConfigError

    if unknown := set(names) - {"fflib"}:
        raise ConfigError(
            f"--peer {', '.join(sorted(unknown))}: unknown; the only peer is fflib, and --peer-path adds loeweX"
        )
    return [peers.fflib() for _ in names] + ([] if checkout is None else [peers.lowe(checkout)])


def _data(name: str, root: Path, *, quick: bool) -> Dataset:
    from dataclasses import replace

    from ffstream.data import datasets

    data = datasets.load(name, root, download=False)
    part = slice(0, 4_000) if quick else slice(None)
    return replace(data, train=(data.train[0][part], data.train[1][part]))
