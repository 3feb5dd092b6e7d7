"""The option that names a running daemon; shared by every verb that talks to one."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Address: TypeAlias = Annotated[
    str,
    typer.Option(
        "--address", "-a", envvar="FFSTREAM_ADDRESS", help="HOST:PORT of the daemon, the first of its six ports."
    ),
]
