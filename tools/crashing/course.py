"""The course of a test: feeders feed, the daemon dies repeatedly, and at the end everything is compared."""

from __future__ import annotations

import json
import platform
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from crashing.checker import Findings, check
from crashing.feeders import FEEDERS, LABELS, SHAPE
from crashing.forked import forking
from crashing.processes import START_S, Daemon, ask, feed
from ffstream import Client, __version__
from ffstream.config import Config, parse
from ffstream.daemon.spawn import free_port
from ffstream.errors import FFStreamError

console = Console(stderr=True)


class Course:
    """One test, in its own folder, which is kept only if the test fails.

    Parameters
    ----------
    name
        Name of the test.
    seed
        Determines samples, messages, and when and how the daemon dies, but not the effects of timing.
    state_directory
        State directory of the daemon; by default in the test's folder.

    Attributes
    ----------
    folder
        Holds ``ledgers/``, ``daemon.toml``, ``daemon.log`` and, unless it is elsewhere, ``state/``.
    draws
        Random generator of the test.
    daemon
        The daemon, not started yet.
    """

    def __init__(self, name: str, seed: int, state_directory: Path | None = None) -> None:
        self.name = name
        self.seed = seed
        self.folder = Path(tempfile.mkdtemp(prefix=f"ffstream-{name}-"))
        self.ledgers = self.folder / "ledgers"
        self.ledgers.mkdir()
        self.draws = random.Random(seed)
        self.config = configuration(state_directory or self.folder / "state")
        self._context = forking()
        self.daemon = Daemon(self.config, self.folder)
        self._ended: Counter[str] = Counter()
        self._began = time.monotonic()

    def run(self, lives: int, live: Callable[[], str]) -> Findings:
        """Let the daemon live and die repeatedly, then stop it and compare.

        Parameters
        ----------
        lives
            Number of times it dies.
        live
            Starts and ends the daemon; returns the cause of its end.
        """
        problems: list[str] = []
        finish = self._context.Event()
        address = self.daemon.address
        asking = self._context.Process(target=ask, args=(address, finish), daemon=True)
        feeding = [
            self._context.Process(
                target=feed, args=(feeder, address, self.ledgers / feeder.name, self.seed, finish), daemon=True
            )
            for feeder in FEEDERS
        ]
        try:
            for process in (asking, *feeding):
                process.start()
            for _ in track(range(lives), self.name, console=console):
                self._ended[live()] += 1
            self.daemon.start()
            self.daemon.wait_ready()
            finish.set()
            for feeder, process in zip(FEEDERS, feeding, strict=True):
                process.join(START_S)
                if process.exitcode != 0:
                    raise FFStreamError(f"feeder {feeder.name} did not finish, exit code {process.exitcode}")
            self._wait_learned()
            self.daemon.stop()
        except FFStreamError as error:
            problems.append(f"broken off: {error}")
        finally:
            self.daemon.kill()
            for process in (asking, *feeding):
                process.kill()
        with console.status("the same again without a crash"):
            findings = check(self.config, self.ledgers)
        findings.problems[:0] = problems
        return findings

    def conclude(self, findings: Findings, json_file: Path | None, more: Mapping[str, Any]) -> int:
        """Print and write the findings, keep the folder if the test failed, and return the exit status."""
        facts = {
            **more,
            **asdict(findings),
            "passed": findings.passed,
            "seed": self.seed,
            "seconds": round(time.monotonic() - self._began, 1),
            "restarts": self.daemon.starts - 1,
            "ended_by": dict(sorted(self._ended.items())),
            "versions": {"ffstream": __version__, "python": platform.python_version(), "torch": torch.__version__},
        }
        text = json.dumps(facts, indent=1)
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        if json_file is not None:
            json_file.write_text(text + "\n")
        if findings.passed:
            shutil.rmtree(self.folder)
            return 0
        state = self.config.state.directory
        if not state.is_relative_to(self.folder):
            shutil.copytree(state, self.folder / "state")
        (self.folder / "findings.json").write_text(text + "\n")
        console.print(f"{self.name} failed; state directory, ledgers and log are kept: {self.folder}", soft_wrap=True)
        return 1

    def _wait_learned(self) -> None:
        """Wait until all samples taken in are learned."""
        give_up = time.monotonic() + START_S
        with Client(self.daemon.address) as client:
            while client.status()["samples_waiting"]:
                if time.monotonic() > give_up:
                    raise FFStreamError(f"samples still waited to be learned after {START_S:g} s")
                time.sleep(0.05)


def configuration(state_directory: Path) -> Config:
    """Return the daemon's configuration: a small network that starts quickly, and a journal that keeps every record."""
    values = {
        "network": {"shape": SHAPE, "labels": LABELS, "hidden": (64, 64), "precision": "float32"},
        "engine": {"device": "cpu", "compile": False, "threads": 1, "max_batch": 32, "memory_samples": 300},
        "server": {"port": free_port()},
        # Nothing is pruned, so that everything can be replayed from the first record.
        "state": {"directory": state_directory, "checkpoint_s": 0.4, "keep": 10_000, "journal_bytes": 2**40},
    }
    return parse(values, "test")
