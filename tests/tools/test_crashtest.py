"""The crash test and the power-cut test themselves, with a few deaths each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crashing.checker import Findings
from crashing.course import Course

ROOT = Path(__file__).parents[2]


def tool(name: str, *arguments: str, **environment: str):
    # Of this checkout, whatever is installed.
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, str(ROOT / "tools" / name), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.slow
def test_three_kills(tmp_path):
    file = tmp_path / "crashtest.json"
    done = tool("crashtest.py", "--kills", "3", "--seed", "1", "--json", str(file), TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert found["kills"] == found["restarts"] == sum(found["ended_by"].values()) == 3
    assert 0 < found["acknowledged"] == found["learned_once"]
    assert (found["lost"], found["duplicated"], found["weights_equal"], found["seed"]) == (0, 0, True, 1)
    assert {"ffstream", "python", "torch"} == found["versions"].keys()
    assert list(tmp_path.glob("ffstream-*")) == []


@pytest.mark.slow
def test_two_power_cuts(tmp_path):
    file = tmp_path / "powercut.json"
    done = tool("powercut.py", "--cuts", "2", "--seed", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    if "skipped" in found:
        pytest.skip(found["skipped"])
    assert found["cuts"] == found["restarts"] == sum(found["ended_by"].values()) == 2
    assert 0 < found["acknowledged"] == found["learned_once"]
    assert (found["lost"], found["duplicated"], found["weights_equal"]) == (0, 0, True)
    assert found["checkpoint_loads"] is True
    assert "ffstream-volume-" not in Path("/proc/mounts").read_text()


def test_a_power_cut_that_cannot_be_made_is_skipped_and_says_so(tmp_path):
    file = tmp_path / "powercut.json"
    done = tool("powercut.py", "--cuts", "2", "--json", str(file), PATH="", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "powercut skipped: " in done.stderr
    assert json.loads(file.read_text()).keys() == {"skipped"}
    assert list(tmp_path.glob("ffstream-*")) == []


@pytest.mark.parametrize("name", ["crashtest.py", "powercut.py"])
def test_help_says_what_is_proven(name):
    done = tool(name, "--help", COLUMNS="120")
    assert done.returncode == 0
    assert "--seed" in done.stdout
    assert "Exits with" in done.stdout or "exits with" in done.stdout


def test_a_failed_test_keeps_what_shows_it_and_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    course = Course("crashtest", 0, tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "journal.sqlite").write_text("what shows it")
    file = tmp_path / "found.json"
    status = course.conclude(Findings(acknowledged=2, learned_once=1, lost=1, weights_equal=True), file, {"kills": 1})
    assert status == 1
    assert json.loads(file.read_text())["passed"] is False
    assert (course.folder / "state" / "journal.sqlite").read_text() == "what shows it"
    assert (course.folder / "findings.json").read_text() == file.read_text()
    assert str(course.folder) in capsys.readouterr().err
