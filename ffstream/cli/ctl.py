"""``ffstream ctl``: commands to a running daemon."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ffstream import ports
from ffstream.cli.address import Address


class CommandName(StrEnum):
    """What can be told to a daemon."""

    STATUS = "status"
    SLEEP = "sleep"
    WAKE = "wake"
    AUTO = "auto"
    HOLD = "hold"
    RESUME = "resume"
    CHECKPOINT = "checkpoint"
    SHUTDOWN = "shutdown"


def ctl(
    command: Annotated[CommandName, typer.Argument(help="What to tell the daemon.")],
    address: Address = ports.ADDRESS,
) -> None:
    """Tell a running daemon something, and print its status.

    [bold]sleep[/] and [bold]wake[/] override the schedule until [bold]auto[/] gives it back; `wake` deprives the
    network of sleep. [bold]hold[/] stops learning, queries are answered all the same, [bold]resume[/] goes on.
    [bold]checkpoint[/] saves now. [bold]shutdown[/] finishes the step, saves and stops.
    """
    from rich.console import Console
    from rich.table import Table

    from ffstream import Client

    with Client(address) as client:
        status = client.control(command.value)
    table = Table.grid(padding=(0, 2))
    for key, value in status.items():
        table.add_row(f"[dim]{key}[/]", f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)
