"""A socket that always has something does not keep the others waiting."""

from __future__ import annotations

import time

import pytest
import zmq

from ffstream.daemon import server

SENT = 200


@pytest.fixture
def full():
    """Give the reading end of a pair in which messages wait."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as reader, context.socket(zmq.PAIR) as writer:
        reader.bind("inproc://full")
        writer.connect("inproc://full")
        for number in range(SENT):
            writer.send(b"%d" % number)
        yield reader


def test_reading_one_socket_ends_when_its_turn_is_over_and_goes_on_in_the_next(full):
    read: list[list[bytes]] = []

    def slowly(frames: list[bytes]) -> None:
        read.append(frames)
        time.sleep(server.TURN_S / 4)

    server._read_some(full, slowly)
    assert 1 <= len(read) <= 5
    while len(read) < SENT:
        server._read_some(full, slowly)
    assert read == [[b"%d" % number] for number in range(SENT)]


def test_what_takes_longer_than_a_turn_is_read_one_by_one(full):
    read: list[list[bytes]] = []
    server._read_some(full, lambda frames: read.append(frames) or time.sleep(2 * server.TURN_S))
    assert read == [[b"0"]]
