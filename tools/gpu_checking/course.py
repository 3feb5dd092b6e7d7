"""The course of a check: one stage after another, each in its own process and within its share of the time."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated

import torch
import typer

from crashing.forked import forking
from ffstream import __version__
from ffstream.errors import ConfigError
from gpu_checking.report import Outcome, Report, Row, told
from gpu_checking.stages import STAGES, Site, Stage

# A stage that does not check the clock between two cases is killed after this many times its budget.
PATIENCE = 1.5
# Lines of a daemon's log that are kept if a stage fails.
LAST_WORDS = 40


def main(
    minutes: Annotated[float, typer.Option(min=0.5, help="All stages together; each gets its share.")] = 8.0,
    out: Annotated[Path, typer.Option(help="Folder for results.json, table.md, log.txt and traces.")] = Path(
        "gpu-check"
    ),
    only: Annotated[list[str] | None, typer.Option(help="A stage to run; may be repeated. All by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tiny sizes, on the CPU; no figure counts.")] = False,
) -> None:
    """Run all checks that need a GPU, the most informative first, within some minutes.

    The stages are environment, smoke (a daemon that learns, sleeps, is killed and replays), limits (a sweep against the
    bandwidth and the compute rate of this card), throughput, profile, graphs (with and without CUDA graphs), stream,
    latency, memory, and the tests marked gpu. Time left over by a stage goes to later stages. A stage that fails or
    runs out of time says so, and the others continue. Each figure is written to results.json and table.md at once.

    Exits with 0 if every stage ran, with 1 if one failed.

        tools/gpu-check --minutes 8 --out gpu-check
        tools/gpu-check --only graphs --only profile --minutes 3
        tools/gpu-check --dry-run
    """
    stages = _chosen(only or [])
    if not (dry_run or torch.cuda.is_available()):
        sys.exit("no CUDA device can be used here; --dry-run tries the stages on the CPU")
    began = time.monotonic()
    facts = {"minutes": minutes, "dry": dry_run, "ffstream": __version__}
    report = Report(out, [stage.name for stage in stages], facts)
    with tempfile.TemporaryDirectory(prefix="ffstream-gpu-check-") as folder:
        site = Site(torch.device("cpu" if dry_run else "cuda"), out.absolute(), Path(folder), dry=dry_run)
        for place, stage in enumerate(stages):
            left = began + 60 * minutes - time.monotonic()
            _run(stage, site, report, left * stage.share / sum(later.share for later in stages[place:]), left)
    typer.echo(report.table())
    sys.exit(any(outcome.status == "failed" for outcome in report.outcomes.values()))


def _chosen(only: Sequence[str]) -> list[Stage]:
    names = [stage.name for stage in STAGES]
    if unknown := [name for name in only if name not in names]:
        raise typer.BadParameter(f"--only {unknown[0]}: there are {', '.join(names)}")
    return [stage for stage in STAGES if not only or stage.name in only]


def _run(stage: Stage, site: Site, report: Report, budget_s: float, left_s: float) -> None:
    """Run a stage in its own process, and record each row as it arrives."""
    outcome = report.outcomes[stage.name]
    outcome.status, outcome.budget_s = "running", budget_s
    report.write()
    began = time.monotonic()
    receiver, sender = forking().Pipe(duplex=False)
    process = forking().Process(target=_live, args=(stage.name, site, budget_s, sender))
    process.start()
    sender.close()
    ends = began + min(PATIENCE * budget_s, left_s)
    try:
        while receiver.poll(max(0.0, ends - time.monotonic())):
            message = receiver.recv()
            outcome.seconds = time.monotonic() - began
            _take(outcome, message)
            report.write()
        if outcome.status == "running":
            outcome.status, outcome.error = "failed", f"ended after {time.monotonic() - began:.0f} s, out of time"
    except EOFError:
        process.join()
        if outcome.status == "running":
            outcome.status, outcome.error = "failed", f"its process ended with code {process.exitcode}; see log.txt"
    finally:
        with contextlib.suppress(ProcessLookupError):
            # Also kills the daemons and compilers that it started.
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
    outcome.seconds = time.monotonic() - began
    report.write()
    typer.echo(f"{stage.name}: {outcome.status} after {outcome.seconds:.0f} s {outcome.error}".rstrip())


def _take(outcome: Outcome, message: Row | str) -> None:
    """Handle a message from a stage's process: a row, or its final status."""
    if isinstance(message, Row):
        outcome.rows.append(message)
        typer.echo(f"  {outcome.stage}, {message.case}: {told(message.figures)}")
    elif message in ("ran", "short"):
        outcome.status = "ran" if message == "ran" else "short"
    else:
        outcome.status, outcome.error = "failed", message


def _live(name: str, site: Site, budget_s: float, sender: Connection[Row | str, None]) -> None:
    """Run a stage in this process, while time remains for another case."""
    ends = time.monotonic() + budget_s
    os.setsid()
    _end_with_parent()
    with (site.out / "log.txt").open("ab") as log:
        log.write(f"--- {name}\n".encode())
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    stage = next(stage for stage in STAGES if stage.name == name)
    status = "ran"
    try:
        with contextlib.closing(stage.run(site)) as rows:
            for row in rows:
                sender.send(row)
                if time.monotonic() > ends:
                    status = "short"
                    break
    except Exception as error:  # noqa: BLE001  any error is the stage's result and must not stop the others
        traceback.print_exc()
        for daemon in site.folder.rglob("*.log"):
            print(f"--- {daemon.name}", *daemon.read_text().splitlines()[-LAST_WORDS:], sep="\n")
        status = f"{type(error).__name__}: {error}"
    sender.send(status)


def _end_with_parent() -> None:
    """End this process and those that it started when its parent, which runs the stages, ends for any reason."""
    parent = parent_process()
    if parent is None:
        raise ConfigError("a stage runs in a process that multiprocessing started")

    def watch() -> None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
