"""The benchmarks that start a daemon: `ffstream bench latency`, `phases`, `stream` and `recovery`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ffstream.cli.measuring import titled
from ffstream.cli.options import FigureFile, JsonFile, Quick

Net = Annotated[str, typer.Option(help="Network by its widths: 784-512-512, 784-3x1000, …")]


class Ack(StrEnum):
    """Promise of the acknowledgements in a stream measurement."""

    MEMORY = "memory"
    RECEIVED = "received"
    DURABLE = "durable"
    LEARNED = "learned"


def latency(
    net: Net = "784-512-512",
    seconds: Annotated[
        float, typer.Option(min=1, help="Seconds of queries for each load and number of clients.")
    ] = 15.0,
    quick: Quick = False,
    json_file: JsonFile = None,
    figure: FigureFile = None,
) -> None:
    """Measure query latency over the real sockets: idle, at half load, and while learning is saturated.

    Queries are due at times drawn in advance, 200 a second over all clients, and latency counts from the time a query
    was due, so that waiting is not hidden.

    ```
    ffstream bench latency --json latency.json --figure latency.png
    ```
    """
    import tempfile
    from dataclasses import asdict

    from rich.progress import Progress

    from ffstream.bench import figures
    from ffstream.bench import latency as measuring
    from ffstream.measuring import report
    from ffstream.measuring.environment import environment
    from ffstream.measuring.nets import widths
    from ffstream.stream.device import device_of

    with tempfile.TemporaryDirectory(prefix="ffstream-bench-") as folder, Progress() as progress:
        task = progress.add_task("measuring", total=len(measuring.LOADS) * len(measuring.CLIENTS))
        found = measuring.measure(Path(folder), widths(net), 3.0 if quick else seconds)
        rows = []
        for row in found:
            rows.append(asdict(row))
            progress.advance(task)
    report.show(
        titled(f"Query latency on {net}, milliseconds from when a query was due", quick=quick),
        rows,
        ["load", "clients", "queries", "p50_ms", "p99_ms", "p999_ms", "sweep_p99_ms", "samples_per_second", "lost"],
    )
    report.write(json_file, environment(device_of("auto")), quick=quick, rows=rows)
    if figure is not None:
        figures.latency(rows).savefig(figure, dpi=150)


def phases(
    net: Net = "784-512-512",
    steps: Annotated[int, typer.Option(min=1, help="Learning steps per phase.")] = 500,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of queries.")] = 30.0,
    quick: Quick = False,
    json_file: JsonFile = None,
    figure: FigureFile = None,
) -> None:
    """Measure query latency while the network falls asleep and wakes up, fed as much as it can learn.

    Queries are due at times drawn in advance, 200 a second, and latency counts from the time a query was due. Queries
    due within 20 ms of a phase change are shown beside the others.

    ```
    ffstream bench phases --json phases.json --figure phases.png
    ```
    """
    import tempfile
    from dataclasses import asdict

    from rich.progress import Progress

    from ffstream.bench import changes, figures
    from ffstream.measuring import report
    from ffstream.measuring.environment import environment
    from ffstream.measuring.nets import widths
    from ffstream.stream.device import device_of

    steps, seconds = (100, 3.0) if quick else (steps, seconds)
    with tempfile.TemporaryDirectory(prefix="ffstream-bench-") as folder, Progress() as progress:
        task = progress.add_task("querying", total=changes.queries(seconds))
        found = changes.measure(Path(folder), widths(net), steps, seconds, lambda: progress.advance(task))
    rows = [asdict(row) for row in found.rows]
    report.show(
        titled(f"Query latency through {len(found.changes)} phase changes, {net}", quick=quick), rows, list(rows[0])
    )
    report.write(json_file, environment(device_of("auto")), quick=quick, rows=rows, changes=found.changes)
    if figure is not None:
        drawn = figures.changes(found.queries.tolist(), found.changes, rows[0]["sweep_p99_ms"])
        drawn.savefig(figure, dpi=150)


def stream(
    net: Net = "784-512-512",
    ack: Annotated[
        list[Ack] | None,
        typer.Option(help="What acknowledgments promise; memory is a daemon without a journal. May be repeated."),
    ] = None,
    quick: Quick = False,
    json_file: JsonFile = None,
    figure: FigureFile = None,
) -> None:
    """Feed a daemon through its acknowledged socket in messages of several sizes, against the same engine in process.

    Samples a second counts new samples, learned and acknowledged; in naps each is learned once more. By default,
    durable acknowledgements are compared with a daemon that keeps no journal. The learner by itself, without journal
    and inbox, is timed in the same turns.

    ```
    ffstream bench stream --json stream.json --figure stream.png
    ffstream bench stream --ack durable --ack memory --quick
    ```
    """
    import tempfile
    from dataclasses import asdict

    from rich.progress import Progress

    from ffstream.bench import figures
    from ffstream.bench import stream as measuring
    from ffstream.measuring import report
    from ffstream.measuring.environment import environment
    from ffstream.measuring.nets import widths
    from ffstream.stream.device import device_of

    dtypes = ("uint8",) if quick else ("uint8", "float32")
    ways = measuring.ways(dtypes, [choice.value for choice in ack or (Ack.MEMORY, Ack.DURABLE)])
    seconds = 1.0 if quick else measuring.SECONDS
    with tempfile.TemporaryDirectory(prefix="ffstream-bench-") as folder, Progress() as progress:
        task = progress.add_task("measuring", total=measuring.turns(ways))
        rows = [
            asdict(row)
            for row in measuring.measure(Path(folder), widths(net), ways, seconds, lambda: progress.advance(task))
        ]
    report.show(
        titled(f"New samples a second through the acknowledged socket, {net}", quick=quick),
        rows,
        [
            *("message_samples", "held", "dtype", "ack", "samples_per_second"),
            *("in_process", "fraction_of_in_process", "fraction_of_learner", "fraction_of_memory"),
        ],
    )
    report.write(json_file, environment(device_of("auto")), quick=quick, rows=rows)
    if figure is not None:
        figures.stream(rows).savefig(figure, dpi=150)


def recovery(
    net: Net = "784-512-512",
    count: Annotated[
        int, typer.Option("--samples", min=64, help="Samples in the journal after the checkpoint.")
    ] = 100_000,
    quick: Quick = False,
    json_file: JsonFile = None,
) -> None:
    """Kill a daemon with many samples in its journal, and measure how soon it predicts and learns again.

    ```
    ffstream bench recovery --samples 100000 --json recovery.json
    ```
    """
    import tempfile
    from dataclasses import asdict

    from rich.progress import Progress

    from ffstream.bench import recovery as measuring
    from ffstream.measuring import report
    from ffstream.measuring.environment import environment
    from ffstream.measuring.nets import widths
    from ffstream.stream.device import device_of

    fed = 10_000 if quick else count
    with tempfile.TemporaryDirectory(prefix="ffstream-bench-") as folder, Progress() as progress:
        task = progress.add_task("feeding", total=fed)
        found = measuring.measure(
            Path(folder),
            widths(net),
            fed,
            lambda more: progress.advance(task, more),
            lambda: progress.add_task("restarting", total=None),
        )
    rows = [asdict(found)]
    report.show(titled(f"Restart after a kill, {net}", quick=quick), rows, list(rows[0]))
    report.write(json_file, environment(device_of("auto")), quick=quick, rows=rows)
