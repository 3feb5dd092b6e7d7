"""Fixtures: a daemon that strangers talk to, and what must hold of it after each test."""

from __future__ import annotations

import pytest
from daemons import starter
from plain_client import QUERIES, Feeder, Line, command


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """One daemon that bears nearly every test of a file."""
    with starter(tmp_path_factory.mktemp("bad")) as start:
        yield start(server={"message_bytes": 32_768, "message_samples": 1024})


@pytest.fixture(autouse=True)
def _lives(daemon, digits):
    """After each test the daemon learns and answers, and has not stumbled."""
    yield
    assert daemon.process.poll() is None
    with Line(daemon, QUERIES) as line:
        assert line.ask("query", {"inputs": digits[0][:3]})["type"] == "answer"
    before = command(daemon, "status")["samples_learned"]
    with Feeder(daemon) as feeder:
        feeder.keep(digits[0][:40], digits[1][:40])
        feeder.flush()
        feeder.send("bye", **feeder.who)
        feeder.socket.close(linger=1000)
    assert command(daemon, "status")["samples_learned"] >= before + 40
    log = daemon.log.read_text()
    assert "Traceback" not in log, log[-2_000:]
    assert "Warning" not in log, log[-2_000:]
