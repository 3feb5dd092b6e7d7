"""``ffstream serve``: the daemon in the foreground."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from ffstream import ports
from ffstream.cli.options import Assignments, at_home


def serve(
    file: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="TOML file; `ffstream config` prints one. Defaults without it.", callback=at_home
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Take shape and labels of this data set: digits, mnist, fashion-mnist, kmnist, cifar10, cifar100 or "
            "usps."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=ports.LAST, help="First of the six ports.")] = None,
    assignments: Assignments = None,
) -> None:
    """Run the daemon until Ctrl-C, SIGTERM or `ffstream ctl shutdown`.

    It binds six ports (control, queries, samples, push, events, HTTP), restores the newest checkpoint in
    state.directory, and answers /livez, /readyz and /metrics over HTTP. Stopping finishes the step and saves; a second
    Ctrl-C does not.

    ```
    ffstream serve --dataset digits --set state.directory=digits-state
    ffstream serve -c ffstream.toml --port 5710 --set engine.device=cpu
    FFSTREAM_SERVER__HOST=0.0.0.0 ffstream serve -c ffstream.toml
    ```

    A value may come from several places. Each overrides those before it: the default, the file, an environment variable
    (FFSTREAM_SECTION__KEY), `--dataset` and `--port`, `--set`. `ffstream config` prints every key.

    Exit codes: 78 bad configuration, 69 port in use, 73 state directory unusable or full, 65 checkpoint of
    another network.
    """
    from ffstream.config import Source, configure
    from ffstream.daemon.service import run

    flags = []
    if dataset is not None:
        from ffstream.data.datasets import known

        data = known(dataset)
        flags.append(Source(f"--dataset {dataset}", {"network": {"shape": data.shape, "labels": data.labels}}))
    if port is not None:
        flags.append(Source(f"--port {port}", {"server": {"port": port}}))
    config = configure(file, os.environ, flags, assignments or [])
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    run(config)
