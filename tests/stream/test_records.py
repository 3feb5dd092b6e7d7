from __future__ import annotations

import contextlib

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffstream.stream.inbox import SampleBatch
from ffstream.stream.records import (
    Advanced,
    Commanded,
    Quarantined,
    Received,
    RolledBack,
    Stepped,
    decode,
    encode,
)

PLAIN = [
    Stepped(version=7, samples=64, queries=3, compiled=True),
    Advanced(quiet=True),
    Commanded("sleep"),
    RolledBack("checkpoint-000003", version=4, undone=9),
    Quarantined("line", epoch=2**62, number=0),
]


@pytest.mark.parametrize("record", PLAIN, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(record) -> None:
    assert decode(encode(record)) == record


def test_a_step_of_a_journal_of_before_ran_as_configured() -> None:
    record = decode(msgpack.packb(["Stepped", 7, 64, 3]))
    assert record == Stepped(version=7, samples=64, queries=3)
    assert [record.ran_compiled(configured) for configured in (True, False)] == [True, False]
    assert [Stepped(7, 64, 3, compiled).ran_compiled(not compiled) for compiled in (True, False)] == [True, False]


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("labels", ["uint8", "int32", "int64"])
def test_samples_come_back_as_they_were(dtype: str, labels: str) -> None:
    inputs = np.random.default_rng(0).random((5, 2, 3)).astype(dtype)
    batch = SampleBatch(inputs, np.arange(5).astype(labels), "a feeder", 2**62, 17)
    record = decode(encode(Received(batch)))
    assert isinstance(record, Received)
    back = record.batch
    assert (back.feeder, back.epoch, back.first) == ("a feeder", 2**62, 17)
    for one, other in ((batch.inputs, back.inputs), (batch.labels, back.labels)):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_samples_without_a_label_come_back_without(dtype: str) -> None:
    record = decode(encode(Received(SampleBatch(np.zeros((2, 3), np.uint8), np.array([-1, 2], dtype)))))
    assert isinstance(record, Received)
    assert record.batch.labels.tolist() == [-1, 2]


@given(st.binary(max_size=60))
def test_anything_else_is_refused_and_nothing_worse(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode(body)


@pytest.mark.parametrize("record", PLAIN, ids=lambda record: type(record).__name__)
def test_half_a_record_is_refused(record) -> None:
    body = encode(record)
    for end in range(len(body)):
        with pytest.raises(ValueError, match=r"not a record|incomplete|exceeds"):
            decode(body[:end])
