"""Checkpoints, as an operator sees them."""

from __future__ import annotations

import json

import pytest
from daemons import PATIENCE_S
from test_cli import run


def test_an_operator_saves_lists_and_goes_back(daemon, client, digits):
    client.feed(digits[0][:200], digits[1][:200])
    client.flush()
    saved = run("ctl", "checkpoint", "before-lunch", address=daemon.address)
    assert "before-lunch" in saved.stdout, saved.stderr
    run("ctl", "checkpoint", address=daemon.address)
    listed = run("ctl", "checkpoints", address=daemon.address).stdout.splitlines()
    assert listed[0].split() == ["name", "version", "samples", "learned", "accuracy", "age", "size", "pinned"]
    assert [line.split()[0] for line in listed[1:]] == ["checkpoint-000002", "before-lunch"]
    assert [line.split()[-1] == "pinned" for line in listed[1:]] == [False, True]
    back = run("ctl", "rollback", "before-lunch", address=daemon.address)
    assert (back.returncode, "from version" in back.stdout) == (0, True)
    for verb, shown in (("unpin", "False"), ("pin", "True")):
        said = run("ctl", verb, "before-lunch", address=daemon.address).stdout
        assert [line.split()[1] for line in said.splitlines() if line.startswith("pinned")] == [shown]


def test_a_damaged_checkpoint_is_shown_as_such(daemon, client):
    client.control("checkpoint", checkpoint="mine")
    (daemon.config.state.directory / "mine" / "manifest.json").write_bytes(b"{}")
    listed = run("ctl", "checkpoints", address=daemon.address).stdout
    assert "damaged" in listed
    assert "mine: manifest.json does not match the SHA-256" in listed


def test_what_cannot_be_gone_back_to_is_one_line(daemon):
    result = run("ctl", "rollback", "nobody", address=daemon.address)
    assert (result.returncode, "Traceback" in result.stderr) == (77, False)
    assert "no checkpoint is called 'nobody'" in result.stderr


def test_the_status_is_one_object_of_json_for_a_program(daemon, client):
    told = json.loads(run("ctl", "status", "--json", address=daemon.address).stdout)
    status = client.status()
    assert told.keys() == status.keys()
    # Before the first sample there is no accuracy, and JSON has no NaN.
    assert told["prequential"] is None
    assert (told["phase"], told["holding"], told["shape"]) == ("wake", False, [8, 8])


def test_the_reply_to_a_command_is_json_too(daemon):
    run("ctl", "checkpoint", "mine", address=daemon.address)
    told = json.loads(run("ctl", "checkpoints", "--json", address=daemon.address).stdout)
    assert [one["name"] for one in told["checkpoints"]] == ["mine"]


def test_the_status_says_all_that_there_is_in_words(daemon, client, digits):
    client.feed(digits[0][:64], digits[1][:64])
    client.flush()
    client.control("hold")
    client.control("sham")
    said = run("ctl", "status", address=daemon.address).stdout
    lines = [line.split("  ", 1) for line in said.splitlines()]
    told = {heading: value.strip() for heading, value in lines}
    assert told["learning"] == "held, until ffstream ctl resume"
    assert told["decided by"] == "ffstream ctl sham, until ffstream ctl auto"
    assert told["learned"].startswith("64 samples, version ")
    assert told["network"] == "8 × 8 to 10 labels, layers of 64, 64 units, coding assembly"
    assert f"process {daemon.process.pid}" in told["daemon"]
    assert "products: " in told["sweeps"]
    # Every key of the status is told, none as it stands.
    assert [*told] == [
        *("phase", "decided by", "learning", "sleep", "learned", "prequential"),
        *("schedule", "steps", "waiting", "memory", "network", "sweeps", "daemon"),
    ]


def test_shutting_down_says_what_comes(daemon):
    assert "saves and stops" in run("ctl", "shutdown", address=daemon.address).stdout
    assert daemon.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("arguments", [["rollback"], ["pin"], ["unpin"], ["status", "x"], ["checkpoints", "x"]])
def test_a_name_is_given_where_one_is_needed_and_nowhere_else(arguments):
    result = run("ctl", *arguments)
    assert result.returncode == 2
    assert "name" in result.stderr
