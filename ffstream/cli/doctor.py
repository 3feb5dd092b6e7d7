"""``ffstream doctor``: checks that a daemon would run well here, and advises where it would not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ffstream.cli.options import JsonFile, at_home

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="TOML file that the daemon would run with; the defaults without it.",
            callback=at_home,
        ),
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Check this machine and a configuration before running a daemon; each line is ok, or says what to do.

    It checks the configuration, the ports, the state directory and its disk, the clock, open files, torch, the
    device, precision, threads, memory (an estimate of the maximum), and the compiler. It changes nothing, and removes
    the file that it writes to test the disk.

    ```
    ffstream doctor -c ffstream.toml
    ```

    Exit codes: 0 a daemon runs, perhaps slower than it could; 1 something must be done first.
    """
    import logging
    from dataclasses import asdict

    from ffstream import __version__
    from ffstream.cli.output import console, write_json
    from ffstream.doctor import examine

    # Torch's own messages during compilation are not findings.
    logging.getLogger("torch").setLevel(logging.ERROR)
    found = []
    with console(stderr=True).status("looking"):
        for finding in examine(config):
            found.append(finding)
            typer.secho(f"{finding.verdict:4}", fg=COLOURS[finding.verdict], nl=False)
            typer.echo(f"  {finding.name:10}  {finding.found}")
            if finding.advice:
                typer.echo(f"{'':18}-> {finding.advice}")
    write_json(json_file, {"ffstream": __version__, "checks": [asdict(finding) for finding in found]})
    if any(finding.verdict == "fail" for finding in found):
        raise typer.Exit(1)
