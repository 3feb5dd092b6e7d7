"""Fixtures: the unit, and a daemon whose metrics all say something."""

from __future__ import annotations

import configparser
from collections.abc import Iterator

import pytest
from daemons import starter
from deployed import UNIT, do_everything

from ffstream.daemon.spawn import Spawned


@pytest.fixture(scope="module")
def unit():
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    return parser["Service"]


@pytest.fixture(scope="module")
def busy(tmp_path_factory, digits) -> Iterator[Spawned]:
    """A daemon that has done a little of everything."""
    with starter(tmp_path_factory.mktemp("busy")) as start:
        daemon = start()
        do_everything(daemon, digits)
        yield daemon
