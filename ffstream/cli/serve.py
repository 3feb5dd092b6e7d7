"""``ffstream serve``: runs the daemon in the foreground."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ffstream import ports
from ffstream.cli.options import Assignments, at_home
from ffstream.daemon.logs import LogFormat, LogLevel, set_up
from ffstream.errors import FFStreamError

if TYPE_CHECKING:
    from ffstream.config import Source

log = logging.getLogger(__name__)


def serve(
    file: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="TOML file; `ffstream config` prints one. Without it, the defaults apply.",
            callback=at_home,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Set network.shape and network.labels to those of this data set: digits, mnist, fashion-mnist, "
            "kmnist, cifar10, cifar100 or usps."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=ports.LAST, help="First of six consecutive ports.")] = None,
    assignments: Assignments = None,
    log_format: Annotated[LogFormat, typer.Option(help="Log as lines of text, or of JSON.")] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option(help="Lowest level to log.")] = LogLevel.INFO,
) -> None:
    """Run the daemon until Ctrl-C, SIGTERM, SIGHUP or `ffstream ctl shutdown`.

    It binds six ports (control, queries, samples, push, events, HTTP), restores the newest checkpoint in
    state.directory, and answers /livez, /readyz and /metrics over HTTP. Stopping finishes the step and saves; a second
    Ctrl-C exits at once without saving.

    ```
    ffstream serve --dataset digits --set state.directory=digits-state
    ffstream serve -c ffstream.toml --port 5710 --set engine.device=cpu
    FFSTREAM_SERVER__HOST=0.0.0.0 ffstream serve -c ffstream.toml --log-format json
    ```

    A value may come from several places. Each overrides those before it: the default, the file, an environment variable
    (FFSTREAM_SECTION__KEY), `--dataset` and `--port`, `--set`. `ffstream config` prints every key.

    Exit codes: 78 bad configuration, 69 port in use, 73 state directory unusable, 74 disk full or failing, 65 state
    damaged or of another network.
    """
    from ffstream.config import configure
    from ffstream.daemon.service import run

    set_up(log_format, log_level)
    try:
        run(configure(file, os.environ, _flags(dataset, port), assignments or []))
    except FFStreamError as error:
        if log_format is LogFormat.TEXT:
            raise
        # A reader of JSON gets the reason for the exit as JSON, too.
        log.critical("%s", error, extra={"exit_code": error.exit_code})
        raise typer.Exit(error.exit_code) from error


def _flags(dataset: str | None, port: int | None) -> Iterator[Source]:
    """Yield the settings made by ``--dataset`` and ``--port``."""
    from ffstream.config import Source

    if dataset is not None:
        from ffstream.data.datasets import known

        data = known(dataset)
        yield Source(f"--dataset {dataset}", {"network": {"shape": data.shape, "labels": data.labels}})
    if port is not None:
        yield Source(f"--port {port}", {"server": {"port": port}})
