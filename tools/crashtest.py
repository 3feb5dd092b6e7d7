#!/usr/bin/env python3
"""Kill the daemon repeatedly, and check that nothing acknowledged was lost and everything was learned once."""

from __future__ import annotations

import itertools
import random
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from crashing.course import Course
from ffstream.errors import DiskError, FFStreamError

# Failpoints with their action, and the range from which N is drawn: the action happens the Nth time the failpoint is
# reached. Failpoints within a step leave time for the samples of an earlier step that died to be learned one by one: a
# sample that ends the daemon twice by itself would, rightly, be set aside.
FAILPOINTS = {
    "journal.write:kill": (1, 20),
    "step.begin:kill": (80, 200),
    "checkpoint.write:kill": (1, 3),
    "checkpoint.fsync:kill": (1, 10),
    "journal.commit:kill": (1, 20),
    "journal.commit:fail": (1, 20),
    "checkpoint.rename:kill": (1, 2),
    "step.end:kill": (80, 200),
    "checkpoint.parent:kill": (1, 2),
    "journal.committed:kill": (1, 20),
}
# Exit codes of the daemon after each action: killed, or exited with an error.
EXIT_CODES = {"kill": -signal.SIGKILL, "fail": DiskError.exit_code}
# Seconds in which a failpoint should be reached, maximum seconds into a start, and maximum seconds of life after it.
REACHED_S, STARTING_S, LIVING_S = 4.0, 0.2, 0.8


def main(
    kills: Annotated[int, typer.Option(min=1, help="How often the daemon dies.")] = 50,
    seed: Annotated[int | None, typer.Option(help="Repeat the draws of another run.", show_default="random")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
) -> None:
    """Kill the daemon repeatedly, and check that nothing acknowledged was lost and everything was learned once.

    A real daemon with a small network learns from four feeders (bytes and floats, acknowledged as durable and as
    learned) that log every acknowledgement, while another process sends queries. The daemon dies of SIGKILL or of a
    disk error: in two of three cases at a failpoint near a write, an fsync, a rename or a step, otherwise at a random
    moment, including during startup. It is restarted each time, and stopped properly at the end. Then, without a
    daemon:

    - every acknowledged sample must be in the journal as it was sent, and taken by exactly one learning step;

    - the journal, replayed from its first record by a learner that never crashed, must give the weights, the memory,
    the schedule and the scores of the last checkpoint, bit for bit.

    Takes about a second per kill, and as long as a few kills for the comparison. Exits with 1 if the promise was
    broken, keeps the evidence, and says where. SIGKILL does not lose data that the operating system has yet to write;
    tools/powercut.py loses that as well.

        tools/crashtest.py --kills 200 --json crashtest.json
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    course = Course("crashtest", seed)
    names = itertools.cycle(FAILPOINTS)
    turns = itertools.cycle([True, True, False])
    findings = course.run(kills, lambda: _at(course, next(names)) if next(turns) else _anytime(course))
    sys.exit(course.conclude(findings, json_file, {"kills": kills}))


def _at(course: Course, failpoint: str) -> str:
    """Let the daemon die at a failpoint, or kill it if it does not get there in time."""
    daemon = course.daemon
    name, _, action = failpoint.partition(":")
    daemon.start(f"{name}@{course.draws.randint(*FAILPOINTS[failpoint])}:{action}")
    if daemon.wait_ended(REACHED_S):
        if daemon.exit_code != EXIT_CODES[action]:
            raise FFStreamError(f"the daemon ended by itself, exit code {daemon.exit_code}; its log: {daemon.log}")
        return failpoint
    daemon.kill()
    return f"{failpoint} not reached"


def _anytime(course: Course) -> str:
    """Kill the daemon at a random moment, one time in three during startup."""
    daemon, draws = course.daemon, course.draws
    daemon.start()
    if draws.random() < 1 / 3:
        time.sleep(draws.uniform(0, STARTING_S))
    else:
        daemon.wait_ready()
        time.sleep(draws.uniform(0, LIVING_S))
    if daemon.wait_ended(0):
        raise FFStreamError(f"the daemon ended by itself, exit code {daemon.exit_code}; its log: {daemon.log}")
    daemon.kill()
    return "random moment"


if __name__ == "__main__":
    typer.run(main)
