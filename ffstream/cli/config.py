"""``ffstream config``: prints a configuration, or checks one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ffstream.cli.options import Assignments, at_home


def config(
    minimal: Annotated[bool, typer.Option("--minimal", help="Print only the keys that most people change.")] = False,
    assignments: Assignments = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Check whether this TOML file is valid, and print nothing else.", callback=at_home
        ),
    ] = None,
) -> None:
    """Print a configuration, each key under a comment that says what it does.

    The output is the defaults, changed by environment variables and by `--set`. Write it to a file, edit the file, and
    start the daemon with it:

    ```
    ffstream config --minimal --set 'network.shape=[8,8]' > ffstream.toml
    ffstream config --check ffstream.toml
    ffstream serve -c ffstream.toml
    ```

    A value may come from several places. Each overrides those before it: the default, the file, an environment variable
    (FFSTREAM_SECTION__KEY, for example FFSTREAM_SERVER__PORT=5710), an option. With `--check`, the environment
    and `--set` count too, as they do for `ffstream serve`.

    Exit code of an invalid configuration: 78, with a line for each error.
    """
    from ffstream.config import configure, to_toml
    from ffstream.errors import ConfigError

    try:
        read = configure(check, os.environ, assignments=assignments or [])
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    typer.echo(to_toml(read, minimal=minimal) if check is None else f"{check}: valid\n", nl=False)
