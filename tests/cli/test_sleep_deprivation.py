from __future__ import annotations

import base64
import csv
import json
import re

import pytest
from typer.testing import CliRunner

from ffstream.cli.experiment import experiment
from ffstream.cli.measuring import SMOKE_TEST

PLAN = """
dataset = "digits"
warm_up = 20
seeds = 2
probes = 2
[recipes.small]
title = "a <small> one"
network = {hidden = [30]}
engine = {compile = false}
[arms.awake]
title = "awake"
timeline = [{do = "deprived", steps = 12}, {do = "rested", steps = 8}]
[arms.dreaming]
title = "asleep"
timeline = [{do = "asleep", steps = 12}]
"""


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(experiment, ["sleep-deprivation", *map(str, arguments)])


@pytest.fixture
def plan(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(PLAN)
    return file


def test_a_plan_becomes_a_report_that_needs_nothing_else(run, plan, tmp_path):
    out, written = tmp_path / "out", tmp_path / "beside.json"
    done = run("--plan", plan, "--out", out, "--json", written, "--device", "cpu")
    assert done.exit_code == 0, done.output
    found = json.loads(written.read_text())
    assert found == json.loads((out / "results.json").read_text())
    assert [(row["arm"], row["dose"], len(row["deficit"])) for row in found["rows"]] == [
        ("awake", 12, 2),
        ("dreaming", 12, 2),
    ]
    assert found["plan"]["arms"]["awake"]["timeline"][0] == {"do": "deprived", "steps": 12}
    with (out / "curves.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert {row["arm"] for row in rows} == {"rested", "awake", "dreaming"}
    page = (out / "report.html").read_text()
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    drawn = sorted(out.glob("*.svg"))
    assert len(pictures) == len(drawn) == len([*out.glob("*.png")]) > 5
    assert all(b"</svg>" in base64.b64decode(picture) for picture in pictures)
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    told = re.findall(r'<img alt="([^"]+)"', page)
    assert len(told) == len(pictures)
    assert all(alt.startswith("Line chart of ") and re.search(r"\b12\b", alt) for alt in told)
    assert "a &lt;small&gt; one" in page
    assert "12 batches" in page
    assert found["smoke_test"] is None
    assert SMOKE_TEST.capitalize() not in page
    assert "| small | awake |" in (out / "table.md").read_text()


def test_an_interrupted_experiment_says_that_it_goes_on(run, plan, tmp_path, monkeypatch):
    from ffstream.cli import deprivation

    begins, heard = deprivation._Watcher.begins, []

    def interrupted(self, what, steps):
        heard.append(what)
        if what == "small, seed 1: dreaming" and heard.count(what) == 1:
            raise KeyboardInterrupt
        begins(self, what, steps)

    monkeypatch.setattr(deprivation._Watcher, "begins", interrupted)
    command = ("--plan", plan, "--out", tmp_path / "out", "--device", "cpu")
    stopped = run(*command)
    assert stopped.exit_code == 130
    assert "the same command continues" in stopped.output
    heard.append("-")
    assert run(*command).exit_code == 0
    assert heard[heard.index("-") + 1 :] == ["small, seed 1: the rested beginning", "small, seed 1: dreaming"]


def test_the_quick_plan_needs_no_data(run, tmp_path):
    done = run("--quick", "--seeds", 1, "--out", tmp_path, "--data-root", tmp_path / "nothing", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "short-nights" in done.output
    assert SMOKE_TEST in done.output
    assert json.loads((tmp_path / "results.json").read_text())["smoke_test"] == SMOKE_TEST
    for name in ("table.md", "report.html"):
        assert SMOKE_TEST.capitalize() in (tmp_path / name).read_text()
    assert {"dose-response", "recovery", "d-prime"} <= {file.stem for file in tmp_path.glob("*.svg")}


def test_the_bundled_plan_can_be_printed_and_given_back(run, tmp_path):
    printed = run("--print-plan", "--quick")
    file = tmp_path / "own.toml"
    file.write_text(printed.stdout)
    done = run("--plan", file, "--arms", "sham", "--seeds", 1, "--out", tmp_path / "out", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert [row["arm"] for row in json.loads((tmp_path / "out" / "results.json").read_text())["rows"]] == ["sham"]


def test_an_unknown_arm_is_refused(run):
    done = run("--quick", "--arms", "shame")
    assert "--arms shame: there is no such name" in str(done.exception)
