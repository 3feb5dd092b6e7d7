"""``ffstream config``: the commented defaults."""

from __future__ import annotations

import typer


def config() -> None:
    """Print the default configuration, each key under a comment that says what it does.

    Write it to a file, change what you like, and start the daemon with it:

        ffstream config > ffstream.toml && ffstream serve -c ffstream.toml
    """
    from ffstream.config import default_toml

    typer.echo(default_toml(), nl=False)
