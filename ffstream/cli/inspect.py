"""``ffstream inspect``: shows what a daemon keeps on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ffstream.cli.options import FigureFile, JsonFile, at_home
from ffstream.cli.output import console, write_json

if TYPE_CHECKING:
    from rich.text import Text


def inspect(
    directory: Annotated[
        Path, typer.Argument(help="The state.directory of a daemon, running or not.", callback=at_home)
    ],
    name: Annotated[str | None, typer.Argument(help="Name of a checkpoint in it.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Name of an older checkpoint, to show what changed since.")
    ] = None,
    json_file: JsonFile = None,
    figure: FigureFile = None,
) -> None:
    """Show the contents of a state directory or a checkpoint, or the change between two checkpoints.

    It only reads, so it is safe on the directory of a running daemon.

    Without a NAME: every checkpoint, newest first, with its version (learning steps behind the weights), the samples
    learned so far, and its accuracy on the whole stream; and anything else in the directory.

    ```
    ffstream inspect ffstream-state
    ```

    With a NAME: its configuration and counters, and every tensor with its shape and norm. All of it is verified against
    its SHA-256; an exploding norm or a tensor that is not finite indicates a rate that is too high.

    ```
    ffstream inspect ffstream-state checkpoint-000042
    ```

    With --against: how far each layer moved. The change is the norm of the difference, relative to the norm before; a
    cosine near 1 means that the weights grew more than they turned; movers are the units that made half of the change:
    few if some units learned something new, half of all if everything drifted. The picture shows what the units of the
    first layer that moved most respond to.

    ```
    ffstream inspect ffstream-state checkpoint-000042 --against before-drift --figure change.png
    ```

    Exit codes: 65 damaged or no such checkpoint, 73 no such directory.
    """
    from dataclasses import asdict

    from ffstream.inspection import contents

    if name is None and against is not None:
        raise typer.BadParameter("--against needs the NAME of a checkpoint to compare")
    if figure is not None and against is None:
        raise typer.BadParameter("--figure draws a change; name the checkpoint to compare with by --against")
    store = contents.store_of(directory)
    if name is None:
        found = contents.of_directory(store)
        _show_directory(found)
    else:
        found, snapshot = contents.of_checkpoint(store, name)
        if against is None:
            _show_checkpoint(found)
        else:
            from ffstream.inspection.change import changes

            other, before = contents.of_checkpoint(store, against)
            rows = [asdict(change) for change in changes(before, snapshot)]
            found = {"checkpoint": found["checkpoint"], "against": other["checkpoint"], "changes": rows}
            _show_change(found)
            if figure is not None:
                from ffstream.inspection.figure import draw

                draw(before, snapshot, (against, name)).savefig(figure, dpi=120)
    write_json(json_file, found)


def _show_directory(found: Mapping[str, Any]) -> None:
    from rich.filesize import decimal

    from ffstream.cli.listing import show

    if found["checkpoints"]:
        show(found["checkpoints"])
    else:
        typer.echo("no checkpoints yet")
    if found["others"]:
        others = (f"{name} ({decimal(size)})" for name, size in found["others"].items())
        console().print(f"\nother files: {', '.join(others)}")


def _show_checkpoint(found: Mapping[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ffstream.cli.listing import show

    show([found["checkpoint"]])
    grid = Table.grid(padding=(0, 2))
    for group in ("configuration", "counters"):
        for key, value in found[group].items():
            inner = value.items() if isinstance(value, Mapping) else [("", value)]
            for name, one in inner:
                grid.add_row(Text(f"{key}.{name}" if name else key, "dim"), _short(one))
    console().print("", grid, "", sep="\n")
    _table(found["tensors"], {"norm": "{:,.6g}"})


def _show_change(found: Mapping[str, Any]) -> None:
    before, after = found["against"], found["checkpoint"]
    steps, samples = (after[key] - before[key] for key in ("version", "samples_learned"))
    typer.echo(
        f"from {before['name']} (version {before['version']:,}) to {after['name']} (version {after['version']:,}): "
        f"{steps:+,} steps, {samples:+,} samples\n"
    )
    _table(found["changes"], {"relative": "{:.3%}", "cosine": "{:.6f}", "largest": "{:.4g}"})


def _table(rows: Sequence[Mapping[str, Any]], formats: Mapping[str, str]) -> None:
    """Print rows that share columns; numbers are in the format of their column."""
    from rich.table import Table

    table = Table(header_style="bold", box=None, pad_edge=False)
    for column, value in rows[0].items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*(_cell(value, formats.get(column, "{}")) for column, value in row.items()))
    console().print(table)


def _cell(value: Any, form: str) -> Text:
    from rich.text import Text

    if isinstance(value, bool):
        return Text("yes") if value else Text("no", "red")
    return Text(form.format(" × ".join(map(str, value)) or "one value" if isinstance(value, list) else value))


def _short(value: Any) -> str:
    return f"{len(value)}" if isinstance(value, Mapping) else str(value)
