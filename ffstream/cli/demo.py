"""``ffstream demo``: shows everything in a minute, on this machine."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ffstream.cli.options import AnyDatasetName, DataRoot, Download, JsonFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ffstream import Client
    from ffstream.cli.view import View
    from ffstream.config import Config
    from ffstream.daemon.spawn import Spawned
    from ffstream.data.datasets import Dataset

MESSAGE_SAMPLES = 64
# Number of connections that query continuously.
ASKERS = 4
DIGITS_STREAM = 60_000
# Minimum seconds of feeding, however long the start took.
LEAST_S = 5.0
# Small, so that little is left to learn when feeding stops.
INBOX_SAMPLES = 1_024
# Seconds the view waits for a score before it checks whether feeding has ended.
LOOK_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """Outcome of a demo, as ``--json`` writes it."""

    dataset: str
    device: str
    stream_samples: int
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
    dataset: AnyDatasetName = "digits",
    data_root: DataRoot = Path("data"),
    download: Download = False,
    passes: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 1,
    seconds: Annotated[
        float, typer.Option(min=0, help="Stop feeding this many seconds after the start, even if samples are left.")
    ] = 40.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the weights and of the order of the stream.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Start a daemon, feed and query it, show what happens, and leave nothing running.

    Without options it works offline and ends within a minute: scikit-learn's handwritten digits, shuffled and jittered
    into a stream of 60,000 samples, are learned in one pass, and 360 that are never fed are the test. On a slow machine
    the stream is cut short after 40 seconds, and the outcome says so.

    ```
    ffstream demo
    ffstream demo --dataset mnist --data-root data --download --seconds 600 --json outcome.json
    ```
    """
    from ffstream.cli.output import write_json

    started = time.monotonic()
    with _step(f"loading {dataset}"):
        from ffstream.daemon.spawn import spawn
        from ffstream.data import datasets

        data = datasets.load(dataset, data_root, download=download)
        inputs, labels = _stream(data, dataset, passes, seed)
    with (
        tempfile.TemporaryDirectory(prefix="ffstream-demo-") as folder,
        spawn(_configure(data, seed, Path(folder)), Path(folder), wait=False) as daemon,
    ):
        with _step("starting a daemon, which loads torch and prepares its network"):
            daemon.wait_ready()
        give_up = max(started + seconds, time.monotonic() + LEAST_S)
        outcome = _run(daemon, dataset, data, inputs, labels, give_up)
        with _step("stopping the daemon, which saves what it has learned"):
            daemon.stop()
    _show(outcome)
    write_json(json_file, asdict(outcome))


@contextlib.contextmanager
def _step(doing: str) -> Iterator[None]:
    """Print the current step; on a terminal, also its elapsed time."""
    from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn

    from ffstream.cli.output import console

    screen = console()
    screen.print(f"{doing} …")
    columns, on_screen = (SpinnerColumn(), TimeElapsedColumn()), screen.is_terminal
    with Progress(*columns, console=screen, transient=True, disable=not on_screen) as progress:
        progress.add_task(doing, total=None)
        yield


def _stream(data: Dataset, name: str, passes: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    import numpy as np

    from ffstream.data.datasets import jittered

    inputs, labels = data.train
    if name == "digits":
        return jittered(inputs, labels, DIGITS_STREAM * passes, seed)
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(len(labels)) for _ in range(passes)])
    return inputs[order], labels[order]


def _configure(data: Dataset, seed: int, folder: Path) -> Config:
    from ffstream.config import parse
    from ffstream.daemon.spawn import free_port

    return parse(
        {
            "network": {"shape": data.shape, "labels": data.labels, "seed": seed},
            "server": {"port": free_port(), "inbox_samples": INBOX_SAMPLES},
            "state": {"directory": str(folder / "state")},
        },
        "demo",
    )


def _run(
    daemon: Spawned, name: str, data: Dataset, inputs: NDArray[np.uint8], labels: NDArray[np.int64], give_up: float
) -> Outcome:
    """Feed from this thread until ``give_up``; query and watch from other threads, each with its own connection."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ffstream import Client
    from ffstream.cli.output import console
    from ffstream.cli.view import View

    stop, screen = threading.Event(), console()
    latencies: list[float] = []
    view = View(f"ffstream demo: {name}, daemon at {daemon.address}")
    bar = Progress(TextColumn("feeding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    task = bar.add_task("feeding", total=len(labels))
    with Client(daemon.address, ack="learned") as client, ThreadPoolExecutor() as threads:
        started = time.monotonic()
        others = [threads.submit(_query, daemon.address, data.test[0], latencies, stop) for _ in range(ASKERS)]
        others.append(threads.submit(_watch, daemon.address, view, stop))
        try:
            with Live(Group(view, bar), console=screen, refresh_per_second=4):
                for start in range(0, len(labels), MESSAGE_SAMPLES):
                    if time.monotonic() >= give_up:
                        break
                    part = slice(start, start + MESSAGE_SAMPLES)
                    client.feed(inputs[part], labels[part])
                    bar.update(task, completed=client.acknowledged)
                client.flush()
                bar.update(task, completed=client.acknowledged)
        finally:
            stop.set()
        if not screen.is_terminal:
            # Without a terminal, the last drawing ends without a line break.
            screen.line()
        per_second = client.acknowledged / (time.monotonic() - started)
        for other in others:
            other.result()
        with _step(f"testing on {len(data.test[1]):,} images that were never fed"):
            return _outcome(daemon, client, name, data, latencies, per_second, len(labels))


def _outcome(
    daemon: Spawned,
    client: Client,
    name: str,
    data: Dataset,
    latencies: list[float],
    samples_per_second: float,
    stream_samples: int,
) -> Outcome:
    import numpy as np

    status = client.status()
    p50, p99 = np.quantile(latencies, (0.5, 0.99)) * 1e3
    dropped = sum(value for key, value in daemon.metrics().items() if key.startswith("ffstream_samples_dropped_total"))
    return Outcome(
        dataset=name,
        device=status["device"],
        stream_samples=stream_samples,
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
    """Send one query after another, at least one."""
    from ffstream import Client

    with Client(address) as client:
        while True:
            row = len(latencies) % len(images)
            asked = time.perf_counter()
            client.predict(images[row : row + 1])
            latencies.append(time.perf_counter() - asked)
            if stop.is_set():
                return


def _watch(address: str, view: View, stop: threading.Event) -> None:
    from ffstream import Client

    with Client(address) as client, client.events("score", after=0, timeout_s=LOOK_S) as events:
        while not stop.is_set():
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
    from ffstream.cli.facts import grid
    from ffstream.cli.output import console

    learned = f"{outcome.samples_learned:,} at {outcome.samples_per_second:,.0f}/s, {outcome.dropped} dropped"
    lines = {"samples learned": learned}
    if outcome.samples_learned < outcome.stream_samples:
        lines["cut short"] = (
            f"the time ended before all {outcome.stream_samples:,} samples were learned; raise --seconds"
        )
    lines |= {
        "prequential accuracy": f"{outcome.prequential_accuracy:.2%} (each sample predicted before it was learned)",
        "test accuracy": f"{outcome.test_accuracy:.2%} (never fed)",
        "queries meanwhile": f"{outcome.queries:,}, p50 {outcome.predict_p50_ms:.1f} ms, "
        f"p99 {outcome.predict_p99_ms:.1f} ms",
        "steps": f"{outcome.wake_steps:,} awake, {outcome.sleep_steps:,} asleep, on {outcome.device}",
    }
    console().print("", grid(lines), sep="\n")
