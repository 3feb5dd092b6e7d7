"""A client made from docs/protocol.md alone queries the real daemon."""

from __future__ import annotations

import time

import numpy as np
import pytest
from daemons import until
from plain_client import QUERIES, Line
from test_protocol_document import fields_of


def test_the_rows_of_a_query_are_answered_together(daemon, feeder, digits):
    feeder.keep(*digits)
    feeder.flush()
    with Line(daemon, QUERIES) as line:
        answer = line.ask("query", {"inputs": digits[0][:200]})
    tensors = answer["tensors"]
    assert answer.keys() == fields_of("`answer` holds the predictions") | {"v", "type", "tensors"}
    assert {name: (t.dtype.name, t.shape) for name, t in tensors.items()} == {
        "labels": ("int64", (200,)),
        "probabilities": ("float32", (200, 10)),
        "goodness": ("float32", (200, 2, 10)),
    }
    np.testing.assert_allclose(tensors["probabilities"].sum(1), 1, rtol=1e-5)
    assert (tensors["labels"] == tensors["goodness"].sum(1).argmax(1)).all()
    assert answer["phase"] in ("wake", "sleep")
    assert answer["version"] > 0


def test_a_field_that_is_unknown_is_ignored(daemon, digits):
    with Line(daemon, QUERIES) as line:
        assert line.ask("query", {"inputs": digits[0][:1]}, colour="blue", more=[1, {"a": None}])["type"] == "answer"


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_every_input_dtype_is_read(held, digits, dtype):
    images = digits[0][:5] // 255 * 255  # Zeros and ones, alike in every dtype.
    inputs = images if dtype == "uint8" else (images / 255).astype(dtype)
    with Line(held, QUERIES) as line:
        expected = line.ask("query", {"inputs": images})["tensors"]["goodness"]
        np.testing.assert_allclose(line.ask("query", {"inputs": inputs})["tensors"]["goodness"], expected, rtol=1e-4)


def test_a_deadline_of_0_is_always_too_late(daemon, digits):
    with Line(daemon, QUERIES) as line:
        answer = line.ask("query", {"inputs": digits[0][:1]}, deadline_ms=0)
    assert (answer["type"], answer["code"], answer["field"]) == ("error", "deadline", "deadline_ms")


@pytest.mark.parametrize("deadline", [None, 60_000, 1e4])
def test_a_deadline_that_is_far_or_absent_is_met(daemon, digits, deadline):
    with Line(daemon, QUERIES) as line:
        assert line.ask("query", {"inputs": digits[0][:1]}, deadline_ms=deadline)["type"] == "answer"


def test_too_many_queries_at_once_are_busy_and_answered_when_sent_again(daemon, digits):
    def ask_a_hundred_at_once():
        """Return how often it was too busy; the daemon may keep up with a machine that sends slowly."""
        waiting, busy = set(range(100)), 0
        for number in waiting:
            line.send("query", {"inputs": digits[0][:200]}, id=number)
        while waiting:
            answer = line.receive()
            if answer["type"] == "answer":
                waiting.remove(answer["id"])
            else:
                assert answer["code"] == "busy"
                busy += 1
                time.sleep(0.01)
                line.send("query", {"inputs": digits[0][:200]}, id=answer["id"])
        return busy

    with Line(daemon, QUERIES) as line:
        until(ask_a_hundred_at_once)
