#!/usr/bin/env python3
"""Cut the daemon's power repeatedly, so that data not yet written by the operating system is lost as well."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from crashing.course import Course, console
from crashing.processes import Daemon
from ffstream import Client
from ffstream.errors import FFStreamError
from ffstream.stream.checkpoint import CheckpointStore

# EXT4_IOC_SHUTDOWN, and what it does before writes stop reaching the disk: write everything, commit the file system's
# own journal, nothing.
SHUTDOWN = 0x8004587D
MANNERS = {"default": 0, "logflush": 1, "nologflush": 2}
# Doing nothing ("nologflush") is most like a power cut.
WEIGHTS = (1, 1, 4)
BYTES = 2 * 2**30  # Size of a sparse file.
LIVING_S = 1.2


class Skipped(Exception):
    """Raised with the reason why the test cannot run on this machine."""


class Volume:
    """An ext4 file system in a file, mounted through a loop device.

    Parameters
    ----------
    image
        The file, created or overwritten.
    point
        Folder where it is mounted.
    """

    def __init__(self, image: Path, point: Path) -> None:
        self.image = image
        self.point = point
        with image.open("wb") as file:
            file.truncate(BYTES)
        _command("mkfs.ext4", "-q", "-F", str(image))

    def mount(self) -> None:
        """Mount it; after a cut, the file system recovers from its own journal."""
        # The loop device goes away with the mount.
        _command("mount", "-o", "loop", str(self.image), str(self.point))

    def cut(self, manner: str) -> None:
        """Cut the power: from now on, no write reaches the file."""
        descriptor = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", MANNERS[manner]))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Unmount it, if it is mounted."""
        if os.path.ismount(self.point):
            _command("umount", str(self.point))


@contextlib.contextmanager
def volume() -> Iterator[Volume]:
    """Yield a mounted file system whose power can be cut; remove all of it at the end."""
    if os.geteuid() != 0:
        raise Skipped("only root can mount a file system")
    folder = Path(tempfile.mkdtemp(prefix="ffstream-volume-"))
    (folder / "mounted").mkdir()
    try:
        try:
            made = Volume(folder / "image", folder / "mounted")
            made.mount()
        except FFStreamError as error:
            raise Skipped(f"no file system can be mounted here: {error}") from error
        try:
            yield made
        finally:
            made.unmount()
    finally:
        shutil.rmtree(folder)


def main(
    cuts: Annotated[int, typer.Option(min=1, help="How often the power is cut.")] = 20,
    seed: Annotated[int | None, typer.Option(help="Repeat the draws of another run.", show_default="random")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
) -> None:
    """Cut the daemon's power repeatedly, so that data not yet written by the operating system is lost as well.

    The test of tools/crashtest.py, with the state directory on its own ext4 file system. At a random moment, often
    right after a checkpoint, the daemon is frozen, the file system is shut down by the ioctl that file systems offer
    for such tests, the daemon is killed, and the file system is mounted again, which leaves only what had really
    reached the disk. A missing fsync shows this way. An announced checkpoint must exist after the cut, and every
    existing one must be readable. The test does not cover a disk that reports a write as done and then loses it from
    its own cache.

    Needs root, a loop device and mkfs.ext4; without one of them it says so, writes "skipped" and exits with 0.

        tools/powercut.py --cuts 20 --json powercut.json
    """
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    try:
        with volume() as disk:
            course = Course("powercut", seed, disk.point / "state")
            broken: list[str] = []
            findings = course.run(cuts, lambda: _live(course, disk, broken))
            findings.problems += broken
            status = course.conclude(findings, json_file, {"cuts": cuts, "checkpoint_loads": not broken})
    except Skipped as reason:
        console.print(f"powercut skipped: {reason}")
        if json_file is not None:
            json_file.write_text(json.dumps({"skipped": str(reason)}) + "\n")
        status = 0
    sys.exit(status)


def _live(course: Course, disk: Volume, broken: list[str]) -> str:
    """Start the daemon, cut its power, and mount what is left; add any problems found to ``broken``."""
    daemon, draws = course.daemon, course.draws
    (manner,) = draws.choices(list(MANNERS), WEIGHTS)
    daemon.start()
    daemon.wait_ready()
    time.sleep(draws.uniform(0, LIVING_S))
    announced = _checkpoint(daemon) if draws.random() < 1 / 2 else None
    # Without power, no process can send anything. A file system that is shut down works on for a moment, in which it
    # confirms a running fsync whose data it then loses.
    daemon.freeze()
    disk.cut(manner)
    daemon.kill()
    disk.unmount()
    disk.mount()
    state = course.config.state
    if announced is not None and not (state.directory / announced).is_dir():
        broken.append(f"{announced} was announced, and is gone after the cut")
    _, damaged = CheckpointStore(state.directory, state.keep).newest()
    broken += damaged
    return manner


def _checkpoint(daemon: Daemon) -> str:
    """Request a checkpoint and return its name."""
    with Client(daemon.address) as client:
        return str(client.control("checkpoint")["checkpoint"])


def _command(*words: str) -> None:
    """Run a system command; raise FFStreamError with its error output if it fails or is missing."""
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise FFStreamError(f"{words[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise FFStreamError(f"{words[0]}: {error.stderr.strip()}") from error


if __name__ == "__main__":
    typer.run(main)
