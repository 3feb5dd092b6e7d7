"""tools/gpu-check itself, on a CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from crashing.forked import forking
from gpu_checking import course, requirements
from gpu_checking.report import Report, Row
from gpu_checking.site import Site
from gpu_checking.stages import STAGES

ROOT = Path(__file__).parents[2]


def start(out: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "PYTHON": sys.executable, **environment}
    command = [str(ROOT / "tools" / "gpu-check"), "--dry-run", "--minutes", "30", "--out", str(out), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=variables, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def check(out: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    process = start(out, *arguments, **environment)
    said, errors = process.communicate(timeout=880)
    return process.returncode, said + errors


def stages(out: Path) -> dict[str, dict]:
    return {stage["stage"]: stage for stage in json.loads((out / "results.json").read_text())["stages"]}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dry_run_goes_through_all_stages_and_writes_their_figures(tmp_path):
    code, said = check(tmp_path / "out")
    found = stages(tmp_path / "out")
    assert {name: stage["status"] for name, stage in found.items()} == {stage.name: "ran" for stage in STAGES}, said
    assert code == 0
    assert all(stage["rows"] and not stage["error"] for stage in found.values())
    smoke = {row["case"]: row for row in found["smoke"]["rows"]}
    assert smoke["weights after the replay"]["bit_equal"] is True
    assert smoke["after the replay"]["version"] == smoke["before kill -9"]["version"] > 0
    assert smoke["after the replay"]["records"] > 0
    assert found["limits"]["rows"][-1]["times_limit"] > 1
    assert (tmp_path / "out" / "table.md").read_text() in said
    assert len(list((tmp_path / "out").glob("trace-*.json.gz"))) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stage_that_fails_says_why_and_the_others_go_on(tmp_path):
    code, said = check(tmp_path / "out", "--only", "smoke", "--only", "graphs", FFSTREAM_FAILPOINT="step.begin@1:kill")
    found = stages(tmp_path / "out")
    assert (found["smoke"]["status"], found["graphs"]["status"], code) == ("failed", "ran", 1), said
    assert "no reply from" in found["smoke"]["error"]
    # The daemon's own last words.
    assert "ready on 127.0.0.1" in (tmp_path / "out" / "log.txt").read_text()
    assert [row["case"] for row in found["smoke"]["rows"]] == ["start"]
    assert found["smoke"]["error"] in said


@pytest.mark.timeout(240)
def test_when_it_is_killed_what_was_written_is_whole_and_no_process_is_left(tmp_path):
    out = tmp_path / "out"
    # So that the daemon's configuration, which stands in its command, lies there.
    process = start(out, "--only", "environment", "--only", "smoke", TMPDIR=str(tmp_path))
    try:
        # Until the daemon runs.
        until(lambda: out.exists() and (out / "results.json").exists() and stages(out)["smoke"]["rows"])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    found = stages(out)
    assert (found["environment"]["status"], found["smoke"]["status"]) == ("ran", "running")
    assert "precision_auto" in found["environment"]["rows"][0]
    until(lambda: not [command for command in commands() if str(tmp_path) in command])


def test_a_stage_out_of_time_is_ended_and_says_so(tmp_path):
    (stage,) = (stage for stage in STAGES if stage.name == "limits")
    report = Report(tmp_path, ["limits"], {})
    course._run(stage, site(tmp_path), report, budget_s=0.0, left_s=60.0)
    found = stages(tmp_path)["limits"]
    assert (found["status"], found["rows"]) == ("failed", [])
    assert "out of time" in found["error"]


def test_a_stage_that_looks_at_the_clock_ends_between_two_cases(tmp_path):
    receiver, sender = forking().Pipe(duplex=False)
    process = forking().Process(target=course._live, args=("limits", site(tmp_path), 0.0, sender))
    process.start()
    row, status = receiver.recv(), receiver.recv()
    process.join()
    assert (type(row), row.case, status) == (Row, "copy", "short")


def test_what_is_not_installed_or_too_old_is_told_with_what_to_do(tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text("""
    [project]
    dependencies = ["numpy>=1.0", "pyzmq>=99.0"]
    [project.optional-dependencies]
    daemon = ["torch>=2.11", "no-package-of-this-name>=1.2"]
    test = ["pytest>=999", "mypy>=999"]
    """)
    unmet = requirements.missing(project)
    assert unmet == ["pyzmq>=99.0", "no-package-of-this-name>=1.2", "pytest>=999"]
    assert "pip download" in requirements.advice(unmet)
    assert requirements.missing(ROOT / "pyproject.toml") == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "speed"], "there are environment, smoke"),
        pytest.param(
            ["--minutes", "1"],
            "no CUDA device can be used here; --dry-run",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here"),
        ),
    ],
)
def test_what_it_cannot_do_it_says_in_a_line(tmp_path, arguments, words):
    command = [str(ROOT / "tools" / "gpu-check"), "--out", str(tmp_path / "out"), *arguments]
    variables = {**os.environ, "PYTHON": sys.executable, "COLUMNS": "200"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


def site(out: Path) -> Site:
    return Site(torch.device("cpu"), out, out, dry=True)


def commands() -> list[str]:
    """Return the command line of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def until(condition) -> None:
    give_up = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)
