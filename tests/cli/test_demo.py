"""``ffstream demo``, from its first word to its last."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# More than enough on any machine: what a demo does is not a matter of how long it takes.
LONGEST_S = 1_500

# Runs the command line, and says when something heavy is about to be loaded.
WATCHED = """
import importlib.abc, runpy, sys

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("numpy", "torch", "torchvision", "sklearn"):
            print(f"<{name}>", flush=True)

sys.meta_path.insert(0, Watch())
runpy.run_module("ffstream", run_name="__main__", alter_sys=True)
"""


def demo(folder, *options, **environment):
    """Run a demo whose temporary files are in a folder; return its outcome and what it printed."""
    path = folder / "outcome.json"
    result = subprocess.run(
        [sys.executable, "-m", "ffstream", "demo", "--json", str(path), *options],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
        env={**os.environ, "TMPDIR": str(folder), **environment},
    )
    assert result.returncode == 0, result.stderr
    assert not list(folder.glob("ffstream-demo-*"))
    assert not [line for line in processes() if str(folder) in line]
    return json.loads(path.read_text()), result.stdout


def processes() -> list[str]:
    """Return the command lines of every process; one that ends meanwhile is none."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return commands


def test_it_says_what_it_does_before_anything_heavy_is_loaded(tmp_path):
    command = [sys.executable, "-c", WATCHED, "demo", "--dataset", "usps", "--data-root", str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S, check=False).stdout.splitlines()
    assert said[0] == "loading usps …"
    # What is loaded would be seen.
    assert {"<numpy>", "<torchvision>"} <= {*said}


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_S)
def test_it_stops_when_its_time_is_up_and_says_so(tmp_path):
    # A stream of which no machine learns all in the few seconds that are left.
    outcome, said = demo(tmp_path, "--seconds", "0", "--passes", "10", FFSTREAM_SERVER__PORT="9")
    assert outcome["stream_samples"] == 600_000
    assert 0 < outcome["samples_learned"] < outcome["stream_samples"]
    assert outcome["dropped"] == 0
    assert "the time ended before all 600,000 samples were learned" in said
    steps = ["loading digits …", "starting a daemon", "testing on 360 images", "stopping the daemon", "test accuracy"]
    places = [said.index(step) for step in steps]
    assert places == sorted(places)


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_S)
def test_it_runs_offline_to_the_end_of_its_stream(tmp_path):
    outcome, said = demo(tmp_path, "--seconds", str(LONGEST_S))
    assert outcome["samples_learned"] == outcome["stream_samples"] == 60_000
    assert "time ended" not in said
    assert outcome["dropped"] == 0
    assert outcome["prequential_accuracy"] >= 0.90
    assert outcome["test_accuracy"] >= 0.94
    assert outcome["queries"] > 0
    assert outcome["wake_steps"] > 0
    assert outcome["sleep_steps"] > 0


@pytest.mark.slow
@pytest.mark.timeout(LONGEST_S)
@pytest.mark.skipif("FFSTREAM_DATA" not in os.environ, reason="FFSTREAM_DATA names no folder with MNIST")
def test_one_pass_over_mnist_reaches_its_figures(tmp_path):
    options = ("--dataset", "mnist", "--data-root", os.environ["FFSTREAM_DATA"], "--seconds", str(LONGEST_S))
    outcome, _ = demo(tmp_path, *options)
    assert outcome["samples_learned"] == 60_000
    assert outcome["prequential_accuracy"] >= 0.94
    assert outcome["test_accuracy"] >= 0.965
    assert outcome["dropped"] == 0
    assert outcome["queries"] > 0
    assert outcome["wake_steps"] > 0
    assert outcome["sleep_steps"] > 0
