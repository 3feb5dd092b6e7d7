"""``ffstream feed``: sends samples to a running daemon."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ffstream import ports
from ffstream.cli.options import Address, DataRoot, Download, at_home
from ffstream.errors import SourceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ffstream.data.files import Samples


class Ack(StrEnum):
    """Promise that an acknowledgement makes."""

    RECEIVED = "received"
    DURABLE = "durable"
    LEARNED = "learned"


def feed(
    source: Annotated[
        str,
        typer.Argument(
            help="A data set (digits, mnist, fashion-mnist, kmnist, cifar10, cifar100, usps), a .npz, .npy, .csv or "
            ".jsonl file, a folder of images (in a subfolder for each label), or - for JSON lines on standard input."
        ),
    ],
    data_root: DataRoot = Path("data"),
    download: Download = False,
    passes: Annotated[
        int, typer.Option(min=1, help="Number of times to feed all samples (not with standard input).")
    ] = 1,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Shuffle each pass with this seed; without it, keep the order.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Maximum number of samples per second.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples per message.")] = 64,
    ack: Annotated[
        Ack, typer.Option(help="When samples are acknowledged: received, durable (on disk) or learned.")
    ] = Ack.DURABLE,
    address: Address = ports.ADDRESS,
) -> None:
    """Feed samples, each acknowledged once the daemon has it on disk.

    The daemon must accept samples of this shape. Start one that does in one terminal, and feed it in another:

    ```
    ffstream serve --dataset digits --set state.directory=digits-state
    ffstream feed digits --passes 3 --seed 0
    ```

    By default, ffstream serve takes 28 × 28 images with ten labels:

    ```
    ffstream serve
    ffstream feed mnist --data-root data --download --rate 500
    ```

    Formats: .npz with `inputs` and `labels`; .npy with NAME.labels.npy beside it; .csv with the label in the column
    `label` or the first one; JSON lines {"inputs": […], "label": 3}.

    ```
    tail -f samples.jsonl | ffstream feed - --batch 1
    ```

    Unlabeled samples: .npy without a labels file, a folder of images without subfolders, JSON lines without `label`,
    and the label -1 anywhere. Only a daemon whose network.coding is "none" takes them.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ffstream import Client
    from ffstream.cli.output import console

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        console=console(stderr=True),
    )
    with Client(address, ack=ack.value) as client:
        status = client.status()
        taker = _Taker(address, tuple(status["shape"]), status["labels"])
        total, samples = _samples(source, taker, data_root, download, passes, seed, batch)
        started, sent = time.monotonic(), 0
        with bar:
            task = bar.add_task(f"feeding {source}", total=total, speed="")
            for inputs, labels in samples:
                client.feed(inputs, labels)
                sent += len(labels)
                elapsed = time.monotonic() - started
                bar.update(task, completed=client.acknowledged, speed=f"{client.acknowledged / elapsed:,.0f}/s")
                if rate is not None:
                    time.sleep(max(0.0, sent / rate - elapsed))
            client.flush()
            bar.update(task, completed=client.acknowledged)
    typer.echo(f"{client.acknowledged:,} samples acknowledged as {ack.value} in {time.monotonic() - started:.1f} s")


@dataclass(frozen=True)
class _Taker:
    """The daemon at an address, and the shape and labels of the samples that it takes."""

    address: str
    shape: tuple[int, ...]
    labels: int

    def check(self, source: str, shape: tuple[int, ...], labels: int, *options: str) -> None:
        """Reject samples of another shape or with more labels; ``options`` start a daemon that takes them."""
        if shape != self.shape or labels > self.labels:
            command = ["ffstream", "serve", *options, "--set", f"state.directory={Path(source).stem}-state"]
            raise SourceError(
                f"{source} has samples of shape {shape} with {labels} labels, but the daemon at {self.address} takes "
                f"{self.shape} with {self.labels}.\nStop it, and start one that fits: {shlex.join(command)}"
            )


def _samples(
    source: str, taker: _Taker, root: Path, download: bool, passes: int, seed: int | None, batch: int
) -> tuple[int | None, Iterator[Samples]]:
    """Return the number of samples, if known, and an iterator over batches of them."""
    from ffstream.data import datasets
    from ffstream.data.files import read_lines, read_samples

    if source == "-":
        return None, read_lines(sys.stdin, taker.shape, batch=batch)
    path = at_home(Path(source))
    if path.suffix or path.exists():
        inputs, labels = read_samples(path, taker.shape)
        # A network has at least two labels.
        count = max(2, int(labels.max(initial=-1)) + 1)
        shape = list(inputs.shape[1:])
        taker.check(source, (*shape,), count, "--set", f"network.shape={shape}", "--set", f"network.labels={count}")
    else:
        known = datasets.known(source)
        taker.check(source, known.shape, known.labels, "--dataset", source)
        inputs, labels = datasets.load(source, root, download=download).train
    return len(labels) * passes, _batches(inputs, labels, passes, seed, batch)


def _batches(
    inputs: NDArray[Any], labels: NDArray[np.int64], passes: int, seed: int | None, batch: int
) -> Iterator[Samples]:
    import numpy as np

    random = None if seed is None else np.random.default_rng(seed)
    for _ in range(passes):
        order = np.arange(len(labels)) if random is None else random.permutation(len(labels))
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            yield inputs[part], labels[part]
