"""Checkpoints, as an operator sees them."""

from __future__ import annotations

import pytest
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
    assert (back.returncode, "from_version" in back.stdout) == (0, True)
    for verb, shown in (("unpin", "False"), ("pin", "True")):
        said = run("ctl", verb, "before-lunch", address=daemon.address).stdout
        assert [line.split()[1] for line in said.splitlines() if line.startswith("pinned")] == [shown]


def test_a_damaged_checkpoint_is_shown_as_such(daemon, client):
    client.control("checkpoint", checkpoint="mine")
    (daemon.config.state.directory / "mine" / "manifest.json").write_bytes(b"{}")
    listed = run("ctl", "checkpoints", address=daemon.address).stdout
    assert "damaged" in listed
    assert "mine: manifest.json does not have the SHA-256" in listed


def test_what_cannot_be_gone_back_to_is_one_line(daemon):
    result = run("ctl", "rollback", "nobody", address=daemon.address)
    assert (result.returncode, "Traceback" in result.stderr) == (77, False)
    assert "no checkpoint is called 'nobody'" in result.stderr


@pytest.mark.parametrize("arguments", [["rollback"], ["pin"], ["unpin"], ["status", "x"], ["checkpoints", "x"]])
def test_a_name_is_given_where_one_is_needed_and_nowhere_else(arguments):
    result = run("ctl", *arguments)
    assert result.returncode == 2
    assert "name" in result.stderr
