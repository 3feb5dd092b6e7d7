"""``ffstream inspect`` on the directory of a daemon that runs."""

from __future__ import annotations

import json

import pytest
from test_cli import run


def test_a_live_directory_is_listed_and_the_daemon_does_not_notice(directory, client):
    listed = run("inspect", directory)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:3]] == ["later", "start"]
    assert "journal.sqlite" in listed.stdout
    assert client.control("checkpoint", checkpoint="after")["checkpoint"] == "after"


def test_a_checkpoint_shows_its_configuration_counters_and_tensors(directory, tmp_path):
    path = tmp_path / "found.json"
    shown = run("inspect", directory, "later", "--json", str(path))
    assert shown.returncode == 0, shown.stderr
    for said in ("network.coding", "assembly", "phase_steps.wake", "network.0.weight", "64 × 64", "yes"):
        assert said in shown.stdout
    found = json.loads(path.read_text())
    assert found["configuration"]["network"]["hidden"] == [64, 64]
    assert all(one["finite"] for one in found["tensors"])


def test_two_checkpoints_are_compared_layer_by_layer_with_a_picture(directory, tmp_path):
    path, picture = tmp_path / "found.json", tmp_path / "change.png"
    files = ("--json", str(path), "--figure", str(picture))
    shown = run("inspect", directory, "later", "--against", "start", *files)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("from start (version 0) to later")
    found = json.loads(path.read_text())
    assert [(one["layer"], one["part"]) for one in found["changes"]] == [(1, "weight"), (2, "weight")]
    assert all(one["relative"] > 0 for one in found["changes"])
    # Before the first sample there is no accuracy, and JSON has no NaN.
    assert found["against"]["prequential"] is None
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{}", "nobody"], 65, "no checkpoint is called 'nobody'; the newest are: later, start"),
        (["{}", "later", "--against", "nobody"], 65, "no checkpoint is called"),
        (["{}/missing"], 73, "no such directory"),
        (["{}", "--against", "start"], 2, "--against"),
        (["{}", "later", "--figure", "x.png"], 2, "--figure"),
    ],
)
def test_what_is_not_there_is_one_line(directory, arguments, code, said):
    result = run("inspect", *(argument.format(directory) for argument in arguments))
    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_an_empty_directory_is_no_error(tmp_path):
    assert run("inspect", str(tmp_path)).stdout.startswith("no checkpoints yet")
