"""Commands: each has a case, and an engine that stands still keeps no operator out."""

from __future__ import annotations

import pytest
from daemons import counted, until
from plain_client import CONTROL, Line, command

from ffstream import Client, failpoints
from ffstream.commands import CommandName, Takes
from ffstream.daemon.control import WAITING


@pytest.fixture
def stuck(start_daemon, monkeypatch, digits):
    """A daemon whose engine stands still in its first step, or will before it obeys a command."""
    monkeypatch.setenv(failpoints.VARIABLE, "step.begin:stall")
    daemon = start_daemon()
    with Client(daemon.address) as client:
        client.push(digits[0][:1], digits[1][:1])
    until(lambda: counted(daemon, "samples_received", channel="push") == 1)
    return daemon


def test_every_command_is_carried_out(daemon):
    command(daemon, "checkpoint", checkpoint="good")
    for name in sorted(CommandName, key=lambda name: name is CommandName.SHUTDOWN):
        fields = {"checkpoint": "good"} if name.takes is Takes.A_NAME else {}
        assert command(daemon, name.value, **fields)["type"] == "reply", name
    assert daemon.process.wait(30) == 0


def test_status_and_shutdown_are_answered_at_once_while_other_commands_wait_for_a_stuck_engine(stuck):
    with Line(stuck, CONTROL) as line:
        for number, name in enumerate(["checkpoint", "hold", "status", "shutdown", "status"]):
            line.send("command", id=number, name=name)
        replies = [line.receive() for _ in range(3)]
    assert [(reply["type"], reply["id"]) for reply in replies] == [("reply", 2), ("reply", 3), ("reply", 4)]
    assert [reply.get("stopping") for reply in replies] == [False, None, True]


def test_no_more_than_a_few_commands_wait_for_a_stuck_engine(stuck):
    with Line(stuck, CONTROL) as line:
        for number in range(WAITING + 2):
            line.send("command", id=number, name="hold")
        refused = [line.receive() for _ in range(2)]
        assert line.receive(0.2) is None
    assert [(reply["id"], reply["code"]) for reply in refused] == [(WAITING, "busy"), (WAITING + 1, "busy")]


def test_a_checkpoint_that_waits_for_the_disk_keeps_no_status_out(start_daemon, monkeypatch):
    monkeypatch.setenv(failpoints.VARIABLE, "checkpoint.write:stall")
    daemon = start_daemon()
    with Line(daemon, CONTROL) as line:
        line.send("command", id=1, name="checkpoint")
        line.send("command", id=2, name="status")
        assert line.receive()["id"] == 2
