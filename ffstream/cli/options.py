"""Options that several verbs share, and the checks made on them before anything else happens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias, overload

import typer

from ffstream import ports

PICTURES = (".png", ".svg", ".pdf")


def readable_address(written: str | None) -> str | None:
    """Reject an invalid address before a connection is tried."""
    try:
        return None if written is None else ports.join(*ports.split(written))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@overload
def at_home(path: Path) -> Path: ...
@overload
def at_home(path: None) -> None: ...
def at_home(path: Path | None) -> Path | None:
    """Expand a leading ``~``, which the shell does not do in ``--data-root=~/data``."""
    try:
        return None if path is None else path.expanduser()
    except RuntimeError:
        # There is no such home directory: like a shell, leave the path unchanged.
        return path


def all_at_home(paths: list[Path]) -> list[Path]:
    """Expand a leading ``~`` of each path."""
    return [at_home(path) for path in paths]


def to_write(path: Path | None) -> Path | None:
    """Reject a file that cannot be written, before there is anything to write."""
    if path is None:
        return None
    path = at_home(path)
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.parent}")
    return path


def to_draw(path: Path | None) -> Path | None:
    """Reject a file name that is not a picture's, before there is anything to draw."""
    if path is not None and path.suffix not in PICTURES:
        raise typer.BadParameter(f"{path.name!r} is not the name of a .png, .svg or .pdf file")
    return to_write(path)


def to_fill(path: Path) -> Path:
    """Reject an output folder that is a file."""
    path = at_home(path)
    if path.exists() and not path.is_dir():
        raise typer.BadParameter(f"{path} is not a folder")
    return path


Address: TypeAlias = Annotated[
    str,
    typer.Option(
        "--address",
        "-a",
        envvar="FFSTREAM_ADDRESS",
        callback=readable_address,
        help="HOST:PORT or [IPV6]:PORT of the daemon; PORT is the first of its six ports, 5700 by default.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Set a key of the configuration, for example server.port=5710; may be repeated. The value is TOML; "
        "strings need no quotes.",
    ),
]
Directory = Annotated[
    Path,
    typer.Argument(help="The state.directory of a daemon, running or not, or a checkpoint in it.", callback=at_home),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the numbers to this JSON file.", callback=to_write)
]
FigureFile = Annotated[
    Path | None, typer.Option("--figure", help="Draw the result to this PNG, SVG or PDF file.", callback=to_draw)
]
Picture = Annotated[Path, typer.Option("--out", help="Draw to this PNG, SVG or PDF file.", callback=to_draw)]
Quick = Annotated[bool, typer.Option("--quick", help="Run only a few cases, within a minute.")]
Device = Annotated[str, typer.Option(help='"auto" (a GPU if there is one, else the CPU), "cpu" or "cuda".')]
DatasetName = Annotated[str, typer.Option(help="Data set: digits (bundled), mnist, fashion-mnist, kmnist or usps.")]
AnyDatasetName = Annotated[
    str, typer.Option(help="Data set: digits (bundled), mnist, fashion-mnist, kmnist, cifar10, cifar100 or usps.")
]
DataRoot = Annotated[
    Path,
    typer.Option(help="Folder of torchvision's data sets; cifar10 may also be there as JPEG files.", callback=at_home),
]
Download = Annotated[bool, typer.Option("--download", help="Download the data set if it is missing.")]
Net = Annotated[
    str | None, typer.Option(help="Network by its widths: 784-512-512, 784-3x1000, …; two layers of 512 by default.")
]
Seeds = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of runs of each, with seeds 0, 1, …; by default as the plan says, else 3, or 1 with --quick.",
    ),
]
Batch = Annotated[int, typer.Option(min=1, max=1024, help="Samples per learning step.")]
Out = Annotated[Path, typer.Option(help="Folder for results.json, table.md and figures.", callback=to_fill)]
