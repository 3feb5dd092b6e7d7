"""The log of a real daemon, as lines of text and of JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from daemons import SMALL, until

from ffstream import Client
from ffstream.config import parse
from ffstream.daemon.spawn import free_port, spawn


@pytest.fixture
def start_logging(tmp_path):
    """Start a daemon with options for its log."""
    with ExitStack() as running:

        def start(*options, wait=True, **sections):
            def serve(config, log):
                command = [sys.executable, "-m", "ffstream", "serve", "-c", str(config), *options]
                with log.open("ab") as output:
                    return subprocess.Popen(command, stdout=output, stderr=output)

            state = {"directory": str(tmp_path / "state")}
            values = {**SMALL, "server": {"port": free_port()}, "state": state, **sections}
            return running.enter_context(spawn(parse(values, "test"), tmp_path, wait=wait, start=serve))

        yield start


def do(daemon, digits):
    """Feed, hold, and send what is refused."""
    images, labels = digits
    with Client(daemon.address, feeder="camera", ack="learned") as client:
        client.feed(images[:300], labels[:300])
        client.flush()
        client.push(images[:1], [99])
        client.control("hold")


def lines(daemon):
    return [json.loads(line) for line in daemon.log.read_text().splitlines()]


def messages(daemon):
    return [line["message"] for line in lines(daemon)]


def test_lines_of_json_tell_what_happened_with_its_numbers(start_logging, digits):
    daemon = start_logging("--log-format", "json")
    do(daemon, digits)
    until(lambda: any("learning is held" in message for message in messages(daemon)))
    until(lambda: any("messages refused" in message for message in messages(daemon)))
    assert daemon.stop() == 0
    said = lines(daemon)
    for line in said:
        assert line.keys() >= {"time", "level", "logger", "message"}
        assert abs((datetime.fromisoformat(line["time"]) - datetime.now(UTC)).total_seconds()) < 600
    told = {line["message"].split(" in ")[0]: line for line in said}
    assert told["feeders connected"]["counts"] == {"learned": 1}
    assert told["messages refused"]["counts"] == {"push bad_label": 1}
    assert told["pushed samples dropped"]["counts"] == {"bad_label": 1}
    assert "sleep due" in told["phases begun"]["counts"]
    assert (told["messages refused"]["level"], told["phases begun"]["level"]) == ("warning", "info")
    assert said[-1]["message"].startswith("stopped at version")


def test_below_the_level_nothing_is_logged(start_logging, digits):
    daemon = start_logging("--log-format", "json", "--log-level", "warning")
    do(daemon, digits)
    until(lambda: any("learning is held" in message for message in messages(daemon)))
    assert daemon.stop() == 0
    assert {line["level"] for line in lines(daemon)} == {"warning"}


def test_at_the_lowest_level_a_feeder_is_named(start_logging, digits):
    daemon = start_logging("--log-level", "debug")
    do(daemon, digits)
    assert "feeder 'camera' connected" in daemon.log.read_text()


def test_lines_of_text_have_time_and_level(start_logging):
    daemon = start_logging()
    assert daemon.stop() == 0
    for line in daemon.log.read_text().splitlines():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO .+", line), line


def test_a_hold_that_outlives_a_restart_is_told_again(start_daemon):
    first = start_daemon()
    with Client(first.address) as client:
        client.control("hold")
    assert first.stop() == 0
    second = start_daemon(directory=first.config.state.directory)
    until(lambda: "learning is held by command" in second.log.read_text())


def test_a_damaged_checkpoint_is_told(start_daemon):
    first = start_daemon()
    assert first.stop() == 0
    (first.config.state.directory / "checkpoint-000001" / "manifest.json").write_bytes(b"{}")
    second = start_daemon(directory=first.config.state.directory)
    assert "checkpoint is damaged and set aside: checkpoint-000001: manifest.json" in second.log.read_text()


def test_the_reason_of_the_end_is_a_line_of_json_with_its_exit_code(start_logging, tmp_path):
    (tmp_path / "state").write_text("a file in the place of the folder")
    ended = start_logging("--log-format", "json", wait=False)
    assert ended.process.wait(60) == 73
    line = lines(ended)[-1]
    assert (line["level"], line["exit_code"]) == ("critical", 73)
    assert "state.directory" in line["message"]
