"""``ffstream ctl``: commands to a running daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from ffstream import ports
from ffstream.cli.address import Address
from ffstream.commands import CommandName, Takes

# How long to wait for those that write a checkpoint, or read one, and for the others.
SAVING_S, OTHERS_S = 60.0, 10.0


def _described() -> str:
    """Return the help of every command, a paragraph each."""
    return "\n\n".join(f"[bold]{name}[/]: {name.help}" for name in CommandName)


def ctl(
    command: Annotated[CommandName, typer.Argument(metavar="COMMAND", help=_described())],
    name: Annotated[
        str | None, typer.Argument(help="The checkpoint to go back to, pin or unpin; or what to call a new one.")
    ] = None,
    address: Address = ports.ADDRESS,
) -> None:
    """Tell a running daemon something, and print its status.

    [bold]sleep[/], [bold]wake[/], [bold]sham[/] and [bold]hold[/] last until they are taken back, also across a
    restart. `wake` deprives the network of sleep. Under `sham` it sleeps as scheduled and learns nothing from it: what
    sleep does is the difference. After a [bold]rollback[/], samples that came in since are not learned again.

        ffstream ctl checkpoint before-new-camera

        ffstream ctl rollback before-new-camera
    """
    from rich.console import Console
    from rich.table import Table

    from ffstream import Client
    from ffstream.cli.listing import show

    if (name is None) if command.takes is Takes.A_NAME else (name is not None and command.takes is Takes.NO_NAME):
        raise typer.BadParameter(f"{command} {command.takes.value}")
    saves = command.takes is not Takes.NO_NAME
    with Client(address, timeout_s=SAVING_S if saves else OTHERS_S) as client:
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
