"""``ffstream ctl``: sends commands to a running daemon."""

from __future__ import annotations

from typing import Annotated

import typer

from ffstream import ports
from ffstream.cli.options import Address
from ffstream.commands import CommandName, Takes

# Seconds to wait for commands that write or read a checkpoint, and for the others.
SAVING_S, OTHERS_S = 60.0, 10.0


def _described() -> str:
    """Return the help of all commands, one paragraph each."""
    return "\n\n".join(f"**{name}**: {name.help}" for name in CommandName)


def ctl(
    command: Annotated[CommandName, typer.Argument(metavar="COMMAND", help=_described())],
    name: Annotated[
        str | None, typer.Argument(help="The checkpoint to go back to, pin or unpin; or the name for a new one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the daemon's reply as one JSON object.")] = False,
    address: Address = ports.ADDRESS,
) -> None:
    """Send a command to a running daemon, and print its status.

    **sleep**, **wake**, **sham** and **hold** last until they are revoked, even across a restart. **wake** deprives
    the network of sleep. Under **sham** it sleeps as scheduled but learns nothing from it: the difference is the effect
    of sleep. After a **rollback**, samples that came in after the checkpoint are not learned again.

    ```
    ffstream ctl status --json
    ffstream ctl checkpoint before-new-camera
    ffstream ctl rollback before-new-camera
    ```
    """
    from ffstream import Client
    from ffstream.cli.facts import status
    from ffstream.cli.listing import show
    from ffstream.cli.output import console, to_json

    if (name is None) if command.takes is Takes.A_NAME else (name is not None and command.takes is Takes.NO_NAME):
        raise typer.BadParameter(f"{command} {command.takes.value}")
    saves = command.takes is not Takes.NO_NAME
    with Client(address, timeout_s=SAVING_S if saves else OTHERS_S) as client:
        reply = client.control(command.value, checkpoint=name)
    if as_json:
        typer.echo(to_json(reply))
    elif command is CommandName.CHECKPOINTS:
        show(reply["checkpoints"])
        if reply["omitted"]:
            typer.echo(f"and {reply['omitted']} older ones")
    elif command is CommandName.SHUTDOWN:
        typer.echo("the daemon finishes its step, saves and stops")
    else:
        console().print(status(reply))
