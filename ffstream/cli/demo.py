"""``ffstream demo``: all of it, in a minute, on this machine."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ffstream import Client
    from ffstream.cli.view import View
    from ffstream.daemon.spawn import Spawned
    from ffstream.data.datasets import Dataset

MESSAGE_SAMPLES = 64
# Connections that query all the while.
ASKERS = 4
DIGITS_STREAM = 60_000


@dataclass(frozen=True)
class Outcome:
    """What ``--json`` writes."""

    dataset: str
    device: str
    samples_learned: int
    prequential_accuracy: float
    test_accuracy: float
    samples_per_second: float
    queries: int
    predict_p50_ms: float
    predict_p99_ms: float
    dropped: int
    wake_steps: int
    sleep_steps: int
    model_version: int


def demo(
    dataset: Annotated[
        str, typer.Option(help="digits (bundled), mnist, fashion-mnist, kmnist, cifar10, cifar100 or usps.")
    ] = "digits",
    data_root: Annotated[Path, typer.Option(help="Folder of torchvision's data sets; cifar10 also as JPEGs.")] = Path(
        "data"
    ),
    download: Annotated[bool, typer.Option("--download", help="Fetch a data set that is not there.")] = False,
    passes: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights and of the order of the stream.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the outcome to this file.")] = None,
) -> None:
    """Start a daemon, feed it, query it all the while, show what happens, and leave nothing running.

    Without options it works offline: scikit-learn's handwritten digits, shuffled and jittered into a stream of
    60,000 samples, are learned in one pass, and 360 that are never fed are the test.
    """
    from ffstream.config import parse
    from ffstream.daemon.spawn import free_port, spawn
    from ffstream.data import datasets

    data = datasets.load(dataset, data_root, download=download)
    inputs, labels = _stream(data, dataset, passes, seed)
    with tempfile.TemporaryDirectory(prefix="ffstream-demo-") as folder:
        config = parse(
            {
                "network": {"shape": data.shape, "labels": data.labels, "seed": seed},
                "server": {"port": free_port()},
                "state": {"directory": str(Path(folder) / "state")},
            },
            "demo",
        )
        with spawn(config, Path(folder)) as daemon:
            outcome = _run(daemon, dataset, data, inputs, labels)
            daemon.stop()
    _show(outcome)
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(outcome), indent=1) + "\n")


def _stream(data: Dataset, name: str, passes: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    import numpy as np

    from ffstream.data.datasets import jittered

    inputs, labels = data.train
    if name == "digits":
        return jittered(inputs, labels, DIGITS_STREAM * passes, seed)
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(len(labels)) for _ in range(passes)])
    return inputs[order], labels[order]


def _run(daemon: Spawned, name: str, data: Dataset, inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> Outcome:
    """Feed from this thread; query and watch from others, each with a connection of its own."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ffstream import Client
    from ffstream.cli.view import View

    stop = threading.Event()
    latencies: list[float] = []
    view = View(f"ffstream demo: {name}, daemon at {daemon.address}")
    bar = Progress(TextColumn("feeding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    task = bar.add_task("feeding", total=len(labels))
    helpers = [
        *(threading.Thread(target=_query, args=(daemon.address, data.test[0], latencies, stop)) for _ in range(ASKERS)),
        threading.Thread(target=_watch, args=(daemon.address, view, stop)),
    ]
    with Client(daemon.address, ack="learned") as client:
        started = time.perf_counter()
        for helper in helpers:
            helper.start()
        try:
            with Live(Group(view, bar), refresh_per_second=4):
                for start in range(0, len(labels), MESSAGE_SAMPLES):
                    part = slice(start, start + MESSAGE_SAMPLES)
                    client.feed(inputs[part], labels[part])
                    bar.update(task, completed=client.acknowledged)
                client.flush()
                bar.update(task, completed=client.acknowledged)
            seconds = time.perf_counter() - started
        finally:
            stop.set()
            for helper in helpers:
                helper.join()
        return _outcome(daemon, client, name, data, latencies, len(labels) / seconds)


def _outcome(
    daemon: Spawned, client: Client, name: str, data: Dataset, latencies: list[float], samples_per_second: float
) -> Outcome:
    import numpy as np

    status = client.status()
    p50, p99 = np.quantile(latencies, (0.5, 0.99)) * 1e3
    dropped = sum(value for key, value in daemon.metrics().items() if key.startswith("ffstream_samples_dropped_total"))
    return Outcome(
        dataset=name,
        device=status["device"],
        samples_learned=status["samples_learned"],
        prequential_accuracy=status["prequential"],
        test_accuracy=_test(client, *data.test),
        samples_per_second=samples_per_second,
        queries=len(latencies),
        predict_p50_ms=float(p50),
        predict_p99_ms=float(p99),
        dropped=int(dropped),
        wake_steps=status["wake_steps"],
        sleep_steps=status["sleep_steps"],
        model_version=status["version"],
    )


def _query(address: str, images: NDArray[np.uint8], latencies: list[float], stop: threading.Event) -> None:
    from ffstream import Client

    with Client(address) as client:
        while not stop.is_set():
            row = len(latencies) % len(images)
            asked = time.perf_counter()
            client.predict(images[row : row + 1])
            latencies.append(time.perf_counter() - asked)


def _watch(address: str, view: View, stop: threading.Event) -> None:
    from ffstream import Client

    with Client(address) as client, client.events("score", after=0) as events:
        for event in events:
            view.update(event.fields)
            if stop.is_set():
                return


def _test(client: Client, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    import numpy as np

    right = 0
    for start in range(0, len(labels), 256):
        part = slice(start, start + 256)
        right += int(np.count_nonzero(client.predict(images[part]).labels == labels[part]))
    return right / len(labels)


def _show(outcome: Outcome) -> None:
    from rich.console import Console
    from rich.table import Table

    speed = f"{outcome.samples_per_second:,.0f}/s"
    latency = f"p50 {outcome.predict_p50_ms:.1f} ms, p99 {outcome.predict_p99_ms:.1f} ms"
    lines = {
        "samples learned": f"{outcome.samples_learned:,} at {speed}, {outcome.dropped} dropped",
        "prequential accuracy": f"{outcome.prequential_accuracy:.2%} (each sample predicted before it was learned)",
        "test accuracy": f"{outcome.test_accuracy:.2%} (never fed)",
        "queries meanwhile": f"{outcome.queries:,}, {latency}",
        "steps": f"{outcome.wake_steps:,} awake, {outcome.sleep_steps:,} asleep, on {outcome.device}",
    }
    table = Table.grid(padding=(0, 2))
    for key, value in lines.items():
        table.add_row(f"[bold]{key}[/]", value)
    console = Console()
    console.print()
    console.print(table)
