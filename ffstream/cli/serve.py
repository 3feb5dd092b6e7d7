"""``ffstream serve``: the daemon in the foreground."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ffstream.daemon.logs import LogFormat, LogLevel, set_up
from ffstream.errors import FFStreamError

log = logging.getLogger(__name__)


def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="TOML file; `ffstream config` prints one. Defaults without it."),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Log in lines of text, or of JSON.")] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option(help="Log nothing below it.")] = LogLevel.INFO,
) -> None:
    """Run the daemon until Ctrl-C, SIGTERM, SIGHUP or `ffstream ctl shutdown`.

    It binds six ports from server.port on (control, queries, samples, push, events, HTTP), restores the newest
    checkpoint, and answers /livez, /readyz and /metrics over HTTP. Stopping finishes the step and saves; a second
    Ctrl-C does not.

    Exit codes: 78 bad configuration, 69 port in use, 73 state directory unusable, 74 disk full or failing, 65 state
    damaged or of another network.
    """
    from ffstream.config import Config, load
    from ffstream.daemon.service import run

    set_up(log_format, log_level)
    try:
        run(Config() if config is None else load(config))
    except FFStreamError as error:
        if log_format is LogFormat.TEXT:
            raise
        # Whoever reads JSON gets the reason of the end as JSON, too.
        log.critical("%s", error, extra={"exit_code": error.exit_code})
        raise typer.Exit(error.exit_code) from error
