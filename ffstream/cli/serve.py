"""``ffstream serve``: the daemon in the foreground."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated

import typer


def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="TOML file; `ffstream config` prints one. Defaults without it."),
    ] = None,
) -> None:
    """Run the daemon until Ctrl-C, SIGTERM or `ffstream ctl shutdown`.

    It binds six ports from server.port on (control, queries, samples, push, events, HTTP), restores the newest
    checkpoint, and answers /livez, /readyz and /metrics over HTTP. Stopping finishes the step and saves; a second
    Ctrl-C does not.

    Exit codes: 78 bad configuration, 69 port in use, 73 state directory unusable or full, 65 checkpoint of
    another network.
    """
    from ffstream.config import Config, load
    from ffstream.daemon.service import run

    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    run(Config() if config is None else load(config))
