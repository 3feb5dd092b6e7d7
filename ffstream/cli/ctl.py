"""``ffstream ctl``: commands to a running daemon."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ffstream import ports
from ffstream.cli.options import Address


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
    as_json: Annotated[bool, typer.Option("--json", help="Print the daemon's reply as one JSON object.")] = False,
    address: Address = ports.ADDRESS,
) -> None:
    """Tell a running daemon something, and print its status.

    - **status**: say where the daemon stands.
    - **sleep**, **wake**: override the schedule until **auto** gives it back; **wake** deprives the network of sleep.
    - **sham**: leave the schedule as it is, but let sleep change nothing: what sleep does is the difference.
    - **hold**: stop learning, while queries are answered all the same, until **resume**.
    - **checkpoints**: list what can be gone back to.
    - **checkpoint** [NAME]: save now. Under a NAME the checkpoint is pinned: kept until it is unpinned.
    - **rollback** NAME: go back to a checkpoint and learn on from there. What came in since is not learned a second
      time, and the checkpoint is pinned.
    - **pin** NAME, **unpin** NAME: keep a checkpoint for good, or no longer.
    - **shutdown**: finish the step, save and stop.

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

    if (name is None) if command in NAMED else (name is not None and command is not CommandName.CHECKPOINT):
        raise typer.BadParameter(f"{command} takes {'the name of a checkpoint' if name is None else 'no name'}")
    with Client(address, timeout_s=SAVING_S if command in SAVING else OTHERS_S) as client:
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
