"""Fixtures: a daemon that a client made from docs/protocol.md alone talks to, and its feeder."""

from __future__ import annotations

import pytest
from daemons import starter
from plain_client import Feeder, command


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """One daemon for every test that leaves it as it found it."""
    server = {"inbox_samples": 600, "message_samples": 256, "inbox_query_rows": 256}
    with starter(tmp_path_factory.mktemp("protocol")) as start:
        yield start(server=server, phases={"wake_steps": 4, "sleep_steps": 2})


@pytest.fixture
def held(daemon):
    """The daemon with learning held."""
    command(daemon, "hold")
    yield daemon
    command(daemon, "resume")


@pytest.fixture
def feeder(daemon):
    """A feeder that was welcomed, and says goodbye."""
    with Feeder(daemon) as made:
        assert made.listen()["type"] == "welcome"
        yield made
        made.send("bye", **made.who)
        made.socket.close(linger=1000)
