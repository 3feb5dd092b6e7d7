"""Fixtures: what a daemon that runs has saved."""

from __future__ import annotations

import pytest


@pytest.fixture
def directory(daemon, client, digits):
    """The state directory of a daemon, with a checkpoint before and one after it learned."""
    client.control("checkpoint", checkpoint="start")
    client.feed(digits[0][:600], digits[1][:600])
    client.flush()
    client.control("checkpoint", checkpoint="later")
    return str(daemon.config.state.directory)
