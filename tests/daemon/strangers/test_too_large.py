"""A message that is too large is refused by its size, or never read."""

from __future__ import annotations

import numpy as np
import pytest
from plain_client import CONTROL, QUERIES, SAMPLES, Line, pack


@pytest.mark.parametrize("offset", [QUERIES, SAMPLES], ids=["queries", "samples"])
def test_a_message_whose_frames_together_are_too_large_is_refused(daemon, offset):
    most = daemon.config.server.message_bytes
    rows = most // 64
    frames = pack("samples", {"inputs": np.zeros((rows, 8, 8), np.uint8), "labels": np.zeros(rows, np.int64)})
    assert max(map(len, frames)) <= most < sum(map(len, frames))
    with Line(daemon, offset) as line:
        line.socket.send_multipart(frames)
        answer = line.receive()
    assert answer["code"] == "too_large"
    assert f"at most {most} bytes, got {sum(map(len, frames))}" in answer["message"]


def test_a_query_of_too_many_rows_is_refused(start_daemon):
    daemon = start_daemon(server={"message_samples": 8})
    with Line(daemon, QUERIES) as line:
        answer = line.ask("query", {"inputs": np.zeros((9, 8, 8), np.uint8)})
    assert (answer["code"], answer["field"]) == ("too_large", "inputs")
    assert "at most 8 rows, got 9" in answer["message"]


def test_a_command_of_too_many_bytes_is_refused(daemon):
    with Line(daemon, CONTROL) as line:
        line.socket.send_multipart([*pack("command", id=1, name="status"), bytes(60_000), bytes(60_000)])
        assert line.receive()["code"] == "too_large"


@pytest.mark.parametrize("offset", [CONTROL, QUERIES, SAMPLES], ids=["control", "queries", "samples"])
def test_a_frame_that_is_too_large_is_never_read(daemon, offset):
    with Line(daemon, offset) as line:
        line.socket.send(bytes(daemon.config.server.message_bytes * 4))
        assert line.receive(0.2) is None


def test_many_small_frames_are_one_message_and_refused_as_one(daemon):
    with Line(daemon, QUERIES) as line:
        line.socket.send_multipart([*pack("query", id=1), *[b"x"] * 20_000])
        assert line.receive()["code"] == "truncated"
        assert line.receive(0.1) is None
