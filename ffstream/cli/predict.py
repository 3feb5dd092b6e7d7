"""``ffstream predict``: queries a running daemon."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ffstream import ports
from ffstream.cli.options import Address, all_at_home

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ffstream import Prediction

BATCH = 256


def predict(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Images, .npy or .npz files; or - for JSON lines on standard input, each a list of numbers.",
            callback=all_at_home,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row instead of a table.")] = False,
    deadline_ms: Annotated[
        float | None,
        typer.Option(min=0, help="Milliseconds after which the answer is useless; the daemon then gives none."),
    ] = None,
    address: Address = ports.ADDRESS,
) -> None:
    """Predict with the daemon's current weights.

    Images are resized to the network's input. A line of JSON is a list with a number for each value of a sample: 64
    numbers for a daemon that was started with `--dataset digits`.

    ```
    ffstream predict seven.png
    tail -f samples.jsonl | ffstream predict - --json
    ```
    """
    from rich.table import Table

    from ffstream import Client
    from ffstream.cli.output import console, to_json

    table = Table("input", "label", "probability", "next best", "version", "phase", box=None)
    with Client(address) as client:
        shape = tuple(client.status()["shape"])
        for name, inputs in _inputs(files, shape):
            answer = client.predict(inputs, deadline_ms=deadline_ms)
            for row in range(len(inputs)):
                if as_json:
                    typer.echo(to_json({"input": name, "row": row, **_row(answer, row)}))
                else:
                    table.add_row(f"{name}[{row}]" if len(inputs) > 1 else name, *_cells(answer, row))
    if not as_json:
        console().print(table)


def _inputs(files: list[Path], shape: tuple[int, ...]) -> Iterator[tuple[str, NDArray[Any]]]:
    from ffstream.data.files import read_inputs, read_lines

    for file in files:
        if str(file) == "-":
            for inputs, _ in read_lines(sys.stdin, shape, batch=1):
                yield "-", inputs
        else:
            inputs = read_inputs(file, shape)
            for start in range(0, len(inputs), BATCH):
                yield str(file), inputs[start : start + BATCH]


def _row(answer: Prediction, row: int) -> dict[str, Any]:
    return {
        "label": int(answer.labels[row]),
        "probabilities": answer.probabilities[row].tolist(),
        "version": answer.version,
        "phase": answer.phase,
    }


def _cells(answer: Prediction, row: int) -> list[str]:
    probabilities = answer.probabilities[row]
    _, second = probabilities.argsort()[::-1][:2]
    return [
        str(answer.labels[row]),
        f"{probabilities.max():.1%}",
        f"{second} ({probabilities[second]:.1%})",
        str(answer.version),
        answer.phase,
    ]
