from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ffstream.cli.experiment import experiment
from ffstream.cli.measuring import SMOKE_TEST
from ffstream.experiments import choices, reproduction

PNG = b"\x89PNG"
OWN = """
name = "own"
title = "A row of one's own"
published_error = 12.5
source = "a paper, section 1"
dataset = "digits"
passes = 2
batch = 64
seeds = 2
[network]
shape = [8, 8]
hidden = [40]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an experiment; return what it printed, what it wrote as JSON, and the folder that it wrote to."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments, out=tmp_path / "out", code=0):
        written = tmp_path / "beside.json"
        done = CliRunner().invoke(experiment, [*arguments, "--out", str(out), "--json", str(written)])
        assert done.exit_code == code, done.output
        found = json.loads(written.read_text())
        assert found == json.loads((out / "results.json").read_text())
        return done.output, found, out

    return run


@pytest.fixture
def own_rows(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "own.toml").write_text(OWN)
    return str(folder)


def test_reproduce_writes_results_a_table_and_figures(run, own_rows):
    printed, found, out = run("reproduce", "--rows", "own", "--rows-dir", own_rows, "--device", "cpu")
    (row,) = found["rows"]
    assert row["name"] == "own"
    assert (row["published_error"], row["seeds"], row["passes"]) == (12.5, 2, 2)
    assert found["smoke_test"] is None
    assert found["environment"]["threads"] >= 1
    assert "12.5" in printed
    assert "| own | A row of one's own | forward | 12.5 |" in (out / "table.md").read_text()
    for name in ("errors.png", "beside-published.png"):
        assert (out / name).read_bytes().startswith(PNG)


def test_reproduce_goes_on_after_an_interruption(monkeypatch, run, own_rows):
    carry_out, carried = reproduction.carry_out, []

    def interrupted(row, seed, *rest):
        if seed == 1 and not carried:
            carried.append(seed)
            raise KeyboardInterrupt
        return carry_out(row, seed, *rest)

    monkeypatch.setattr(reproduction, "carry_out", interrupted)
    command = ("reproduce", "--rows", "own", "--rows-dir", own_rows, "--device", "cpu")
    printed, found, out = run(*command, code=130)
    assert "the same command continues" in printed
    assert [row["seeds"] for row in found["rows"]] == [1]
    assert [file.name for file in (out / "runs").iterdir()] == ["own-seed0.json"]
    _, found, _ = run(*command)
    assert [row["seeds"] for row in found["rows"]] == [2]


def test_reproduce_quick_shows_bundled_rows_without_their_data(run, tmp_path):
    _, found, _ = run("reproduce", "--quick", "--rows", "frozen,assembly", "--data-root", str(tmp_path / "nothing"))
    rows = [(row["name"], row["seeds"], row["passes"]) for row in found["rows"]]
    assert rows == [("frozen", 1, 1), ("assembly", 1, 1)]


def test_reproduce_quick_says_that_it_is_a_smoke_test_and_holds_nothing_against_what_was_published(run):
    printed, found, out = run("reproduce", "--quick", "--rows", "article-overlay", "--device", "cpu")
    (row,) = found["rows"]
    assert found["smoke_test"] == SMOKE_TEST
    assert (row["published_error"], row["source"], row["dataset"]) == (None, "", "digits")
    table = (out / "table.md").read_text()
    assert table.startswith(f"**{SMOKE_TEST.capitalize()}.**")
    assert SMOKE_TEST in printed
    assert "4.74" not in printed + table
    assert not (out / "beside-published.png").exists()


def test_a_quick_run_leaves_alone_what_a_full_one_has_kept(run, own_rows):
    command = ("reproduce", "--rows", "own", "--rows-dir", own_rows, "--device", "cpu")
    _, full, out = run(*command)
    kept = {file: file.read_bytes() for file in (out / "runs").iterdir()}
    run(*command, "--quick")
    assert {file: file.read_bytes() for file in (out / "runs").iterdir()} == kept
    assert full["smoke_test"] is None


@pytest.mark.parametrize(
    "command",
    [
        "prequential --net 64-20 --backprop-rate 1e-3",
        "dreams --net 64-20",
        "goodness --goodness squares --activation relu",
        "phase-separation --arms plain --steps-per-phase 8 --passes 1",
        "recurrent --hidden 20 --passes 1",
    ],
)
def test_every_quick_experiment_says_that_it_is_a_smoke_test_of_digits(run, command):
    verb, *options = command.split()
    dataset = [] if verb == "recurrent" else ["--dataset", "mnist"]
    batch = [] if verb == "phase-separation" else ["--batch", "128"]
    printed, found, out = run(verb, "--quick", *options, *dataset, *batch, "--device", "cpu")
    assert found["smoke_test"] == SMOKE_TEST
    assert SMOKE_TEST in printed
    assert (out / "table.md").read_text().startswith(f"**{SMOKE_TEST.capitalize()}.**")
    assert found.get("dataset", "digits") == "digits"


def test_reproduce_refuses_a_row_that_is_not_there():
    done = CliRunner().invoke(experiment, ["reproduce", "--rows", "asembly"])
    assert "did you mean 'assembly'" in str(done.exception)


def test_prequential_writes_a_row_a_stream_method_and_seed(run):
    printed, found, out = run("prequential", "--quick", "--net", "64-20", "--backprop-rate", "1e-3", "--batch", "64")
    assert {(row["stream"], row["method"], row["seed"]) for row in found["rows"]} == {
        (stream, method, 0) for stream in ("shuffled", "sorted", "drift") for method in ("naps", "together", "backprop")
    }
    assert {"prequential_accuracy", "test_accuracy", "curve", "rate"} <= found["rows"][0].keys()
    assert (found["net"], found["batch"]) == ("64-20", 64)
    assert "drift" in printed
    assert (out / "curves.png").read_bytes().startswith(PNG)
    assert "\n\n| stream |" in (out / "table.md").read_text()


def test_goodness_writes_a_cell_a_pair(monkeypatch, run):
    monkeypatch.setattr("ffstream.cli.experiment.KEYS", ("coding", "negatives"))
    printed, found, out = run(
        *("goodness", "--quick", "--goodness", "assembly", "--rate", "2e-3", "--batch", "256", "--seeds", "2")
    )
    assert [(row["coding"], row["negatives"]) for row in found["rows"]] == [
        ("assembly", name) for name in choices.known("negatives")
    ]
    assert found["rows"][0]["seeds"] == 2
    assert "belief" in printed
    assert (out / "heat-map.png").read_bytes().startswith(PNG)


def test_recurrent_writes_goodness_and_error_by_iteration(run, tmp_path):
    printed, found, out = run(
        *("recurrent", "--quick", "--hidden", "40", "--hidden", "30", "--passes", "2", "--seeds", "2"),
        *("--iterations", "6", "--rate", "2e-3", "--batch", "32", "--data-root", str(tmp_path / "nothing")),
    )
    (row,) = found["rows"]
    assert (row["units"], row["passes"], row["seeds"], row["batch"]) == ([40, 30], 2, 2, 32)
    assert row["published_error"] is None
    for key in ("goodness_true", "goodness_wrong", "error_by_iteration"):
        assert [len(one) for one in row[key]] == [6, 6]
    assert "Recurrent 64-40-30" in (out / "table.md").read_text()
    assert "best wrong" in printed
    for name in ("errors.png", "iterations.png"):
        assert (out / name).read_bytes().startswith(PNG)


def test_dreams_writes_a_row_a_source(run):
    printed, found, out = run("dreams", "--quick", "--net", "64-40", "--device", "cpu")
    assert [row["source"] for row in found["rows"]] == ["memory", "hybrid", "dream"]
    assert found["rows"][2]["classes_present"] > 5
    assert "hybrid" in printed
    assert "\n\n| sleep on |" in (out / "table.md").read_text()
