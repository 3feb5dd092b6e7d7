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
    SHAM = "sham"
    AUTO = "auto"
    HOLD = "hold"
    RESUME = "resume"
    CHECKPOINTS = "checkpoints"
    CHECKPOINT = "checkpoint"
    ROLLBACK = "rollback"
    PIN = "pin"
    UNPIN = "unpin"
    SHUTDOWN = "shutdown"


NAMED = {CommandName.ROLLBACK, CommandName.PIN, CommandName.UNPIN}
# Those that wait for a disk, and how long.
SAVING, SAVING_S, OTHERS_S = {CommandName.CHECKPOINT, *NAMED}, 60.0, 10.0


def ctl(
    command: Annotated[CommandName, typer.Argument(help="What to tell the daemon.")],
    name: Annotated[
        str | None, typer.Argument(help="The checkpoint to go back to, pin or unpin; or what to call a new one.")
    ] = None,
    address: Address = ports.ADDRESS,
) -> None:
    """Tell a running daemon something, and print its status.

    [bold]sleep[/] and [bold]wake[/] override the schedule until [bold]auto[/] gives it back; `wake` deprives the
    network of sleep. [bold]sham[/] leaves the schedule as it is, but sleep is only shown, and changes nothing: what
    sleep does is the difference. [bold]hold[/] stops learning, queries are answered all the same, [bold]resume[/] goes
    on. [bold]shutdown[/] finishes the step, saves and stops.

    [bold]checkpoints[/] lists what can be gone back to. [bold]checkpoint[/] saves now; under a NAME it is pinned: kept
    until it is unpinned. [bold]rollback[/] NAME goes back to a checkpoint and learns on from there; what came in since
    is not learned a second time, and the checkpoint is pinned. [bold]pin[/] NAME, [bold]unpin[/] NAME.

        ffstream ctl checkpoint before-new-camera

        ffstream ctl rollback before-new-camera
    """
    from rich.console import Console
    from rich.table import Table

    from ffstream import Client
    from ffstream.cli.listing import show

    if (name is None) if command in NAMED else (name is not None and command is not CommandName.CHECKPOINT):
        raise typer.BadParameter(f"{command} takes {'the name of a checkpoint' if name is None else 'no name'}")
    with Client(address, timeout_s=SAVING_S if command in SAVING else OTHERS_S) as client:
        reply = client.control(command.value, checkpoint=name)
    if command is CommandName.CHECKPOINTS:
        show(reply["checkpoints"])
        if reply["omitted"]:
            typer.echo(f"and {reply['omitted']} older ones")
        return
    table = Table.grid(padding=(0, 2))
    for key, value in reply.items():
        shown = {f"{key}.{part}": held for part, held in value.items()} if isinstance(value, dict) else {key: value}
        for label, held in shown.items():
            table.add_row(f"[dim]{label}[/]", f"{held:.4g}" if isinstance(held, float) else str(held))
    Console().print(table)
