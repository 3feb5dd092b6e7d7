"""A client made from docs/protocol.md alone controls the real daemon."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from daemons import until
from plain_client import CONTROL, QUERIES, Line, command
from test_protocol_document import DOCUMENT, fields_of

AT_ONCE = ("status", "shutdown")
IN_ORDER = ("sleep", "wake", "sham", "auto", "hold", "resume", "checkpoints", "checkpoint")
OF_CHECKPOINT = ("rollback", "pin", "unpin")


@pytest.mark.parametrize("name", ["status", *IN_ORDER])
def test_every_command_is_answered_with_the_status_after_it(daemon, name):
    expected = fields_of("`reply` to every other command") | {"v", "type"}
    if name.startswith("checkpoint"):
        expected |= fields_of(f"`reply` to `{name}`")
    assert command(daemon, name).keys() == expected


@pytest.mark.parametrize("name", OF_CHECKPOINT)
def test_every_command_about_a_checkpoint_is_answered_with_the_status_after_it(daemon, name):
    saved = command(daemon, "checkpoint", checkpoint=f"for-{name}")["checkpoint"]
    expected = fields_of("`reply` to every other command") | {"v", "type"}
    expected |= fields_of("`reply` to `rollback`" if name == "rollback" else "`reply` to `pin` and `unpin`")
    assert command(daemon, name, checkpoint=saved).keys() == expected


@pytest.mark.parametrize("name", OF_CHECKPOINT)
@pytest.mark.parametrize("checkpoint", [None, "", 7, "x" * 129])
def test_a_command_about_a_checkpoint_wants_its_name(daemon, name, checkpoint):
    refused = command(daemon, name, checkpoint=checkpoint)
    assert (refused["code"], refused["field"]) == ("bad_field", "checkpoint")


def test_the_listing_has_the_fields_of_the_document_newest_first(daemon):
    made = [command(daemon, "checkpoint")["checkpoint"], command(daemon, "checkpoint", checkpoint="b")["checkpoint"]]
    listed = command(daemon, "checkpoints")["checkpoints"]
    assert [one["name"] for one in listed[:2]] == made[::-1]
    assert all(one.keys() == fields_of("each of them a map with") for one in listed)


def test_the_document_lists_the_commands(daemon):
    table = DOCUMENT.split("| command | what it does |", 1)[1].split("\n\n", 1)[0]
    names = [*AT_ONCE, *IN_ORDER, *OF_CHECKPOINT]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == names
    assert all(name in command(daemon, "dance")["message"] for name in names)


def test_sleep_wake_and_auto_say_who_decides_on_the_phase(daemon):
    names = ["sleep", "wake", "sham", "auto"]
    assert [command(daemon, name)["override"] for name in names] == names


def test_hold_stops_learning_until_resume_while_queries_are_answered(daemon, feeder, digits):
    assert command(daemon, "hold")["holding"]
    feeder.keep(digits[0][:50], digits[1][:50])
    feeder.send_what_credit_allows()
    with Line(daemon, QUERIES) as line:
        assert line.ask("query", {"inputs": digits[0][:1]})["type"] == "answer"
    until(lambda: command(daemon, "status")["samples_waiting"] >= 50)
    assert command(daemon, "status")["samples_waiting"] == 50
    assert not command(daemon, "resume")["holding"]
    feeder.flush()


def test_a_checkpoint_is_on_disk_when_its_reply_comes(daemon):
    name = command(daemon, "checkpoint")["checkpoint"]
    assert (Path(daemon.config.state.directory) / name / "manifest.json").is_file()


def test_commands_are_answered_in_the_order_in_which_they_came(daemon):
    with Line(daemon, CONTROL) as line:
        for number, name in enumerate(IN_ORDER):
            line.send("command", id=number, name=name)
        assert [line.receive()["id"] for _ in IN_ORDER] == list(range(len(IN_ORDER)))
    status = command(daemon, "status")
    assert (status["override"], status["holding"], status["stopping"]) == ("auto", False, False)
    assert status["prequential"] > 0 or math.isnan(status["prequential"])
