"""Whatever a stranger sends is answered by an error or counted, and the daemon goes on learning and answering."""

from __future__ import annotations

import random

import msgpack
import numpy as np
import pytest
import zmq
from daemons import counted, until
from plain_client import CONTROL, EVENTS, PUSH, QUERIES, SAMPLES, Feeder, Line, command, pack

from ffstream.commands import CommandName

IMAGES = np.zeros((2, 8, 8), np.uint8)
LABELS = np.zeros(2, np.int64)


def header(**fields):
    return msgpack.packb(fields)


def nested(depth, inner=b"\x01"):
    return b"\x91" * depth + inner


def with_raw_field(kind, name, raw, **fields):
    """Build a header one of whose values is given as bytes."""
    packed = msgpack.packb({"v": 1, "type": kind, **fields})
    return [bytes([packed[0] + 1]) + packed[1:] + msgpack.packb(name) + raw]


# --- what is wrong with tensors is told alike on every socket that takes samples or queries ---

FLAWED = IMAGES.astype(np.float32)
FLAWED[1, 3, 3] = np.nan
BOTH_WAYS = IMAGES.astype(np.float16)
BOTH_WAYS[1, :2, 3] = np.inf, -np.inf

# name: (tensors, code, field, what the message says came and was expected)
BAD_INPUTS = {
    "another shape": (IMAGES[:, :7], "bad_shape", "(n ≥ 1, 8, 8), got (2, 7, 8)"),
    "flattened": (IMAGES.reshape(2, 64), "bad_shape", "(n ≥ 1, 8, 8), got (2, 64)"),
    "no row": (IMAGES[:0], "bad_shape", "got (0, 8, 8)"),
    "a scalar": (np.uint8(1), "bad_shape", "got ()"),
    "integers": (IMAGES.astype(np.int32), "bad_dtype", "uint8 or float16 or float32, got int32"),
    "not a number": (FLAWED, "not_finite", "row 1"),
    "infinite both ways": (BOTH_WAYS, "not_finite", "row 1"),
}
BAD_LABELS = {
    "too large": (np.array([3, 10]), "bad_label", "0 to 9, got 10 in row 1"),
    "negative": (np.array([-2, 3], np.int32), "bad_label", "0 to 9, got -2 in row 0"),
    "none": (np.array([3, -1], np.int32), "bad_label", "0 to 9, got -1 in row 1: it has no label"),
    "floats": (LABELS.astype(np.float32), "bad_dtype", "uint8 or int32 or int64, got float32"),
    "too few": (LABELS[:1], "bad_shape", "(2,) as for inputs, got (1,)"),
    "a matrix": (LABELS.reshape(1, 2), "bad_shape", "(2,) as for inputs, got (1, 2)"),
}
BAD_TENSORS = {
    **{f"inputs, {name}": ({"inputs": x, "labels": LABELS}, c, "inputs", t) for name, (x, c, t) in BAD_INPUTS.items()},
    **{f"labels, {name}": ({"inputs": IMAGES, "labels": y}, c, "labels", t) for name, (y, c, t) in BAD_LABELS.items()},
    "no inputs": ({"labels": LABELS}, "missing_tensor", "inputs", "uint8 or float16 or float32, got none"),
    "no labels": ({"inputs": IMAGES}, "missing_tensor", "labels", "uint8 or int32 or int64, got none"),
}
BAD_QUERIES = {name: bad for name, bad in BAD_TENSORS.items() if bad[2] == "inputs"}

DESCRIBED = {"v": 1, "type": "query", "id": 1}
NOTHING = 2**31 - 1
# name: (frames, code, field, what the message says); wrong on any socket
BAD_FRAMES = {
    "an empty frame": ([b""], "bad_header", "", "one msgpack map"),
    "random bytes": ([random.Random(1).randbytes(200)], "bad_header", "", "one msgpack map"),
    "a REQ's delimiter": ([b"", header(v=1, type="status", id=1)], "bad_header", "", "one msgpack map"),
    "half a header": ([header(v=1, type="query", id=1)[:-3]], "bad_header", "", "one msgpack map"),
    "more than a header": ([header(v=1, type="query", id=1) + b"\x01"], "bad_header", "", "one msgpack map"),
    "a list": ([msgpack.packb([1, 2])], "bad_header", "", "got [1, 2]"),
    "keys that are bytes": ([msgpack.packb({b"v": 1})], "bad_header", "", "string keys"),
    "keys that are numbers": ([msgpack.packb({1: 1})], "bad_header", "", "int is not allowed"),
    "an extension type": ([header(v=1, type=msgpack.ExtType(5, b"abc"))], "bad_header", "", "ext"),
    "a list that is too long": ([header(v=1, type="query", more=[0] * 1_025)], "bad_header", "", "1025"),
    "a map that is too long": ([header(**{f"k{n}": n for n in range(65)})], "bad_header", "", "65"),
    "a list deeper than any stack": ([b"\x81\xa1v" + nested(30_000)], "bad_header", "", "StackError"),
    "no version": ([header(type="query", id=1)], "bad_version", "v", "version 1, got nothing"),
    "another version": ([header(v=2, type="query", id=1)], "bad_version", "v", "version 1, got 2"),
    "a version that is true": ([header(v=True, type="query", id=1)], "bad_version", "v", "version 1, got True"),
    "no type": ([header(v=1, id=1)], "bad_field", "type", "a message type, got nothing"),
    "a type that is a number": ([header(v=1, type=5)], "bad_field", "type", "a message type, got 5"),
    "tensors that are no list": ([header(**DESCRIBED, tensors=5)], "bad_field", "tensors", "at most 4 tensors"),
    "five tensors": ([header(**DESCRIBED, tensors=[["a", "uint8", [0]]] * 5)] + [b""] * 5, "bad_field", "tensors", "4"),
    "a tensor of two words": ([header(**DESCRIBED, tensors=[["a", "uint8"]]), b""], "bad_field", "tensors", "dtype"),
    "a frame too few": (
        [header(**DESCRIBED, tensors=[["a", "uint8", [1]]])],
        "truncated",
        "tensors",
        "1 tensors, but 0",
    ),
    "a frame too many": ([header(**DESCRIBED), b"abc"], "truncated", "tensors", "0 tensors, but 1"),
    "a frame cut short": (
        [header(**DESCRIBED, tensors=[["inputs", "float32", [1, 8, 8]]]), bytes(255)],
        *("truncated", "inputs", "float32 (1, 8, 8) needs 256 bytes, got 255"),
    ),
    "a dtype that numpy has": (
        [header(**DESCRIBED, tensors=[["inputs", "float64", [1, 8, 8]]]), bytes(512)],
        *("bad_dtype", "inputs", "got 'float64'"),
    ),
    "a pickle's dtype": (
        [header(**DESCRIBED, tensors=[["inputs", "object", [1]]]), bytes(8)],
        *("bad_dtype", "inputs", "got 'object'"),
    ),
    "a negative side": (
        [header(**DESCRIBED, tensors=[["inputs", "uint8", [-1, 8, 8]]]), b""],
        *("bad_shape", "inputs", "got [-1, 8, 8]"),
    ),
    "a shape of nothing that is beyond measure": (
        [header(**DESCRIBED, tensors=[["inputs", "uint8", [0, NOTHING, NOTHING, NOTHING]]]), b""],
        *("bad_shape", "inputs", "2147483647"),
    ),
    "a version nested beyond printing": ([b"\x81\xa1v" + nested(1_000)], "bad_version", "v", "[[["),
    "a type of many control characters": ([header(v=1, type="\0" * 20_000, id=1)], "unknown_type", "type", "got '"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("offset", [CONTROL, QUERIES, SAMPLES], ids=["control", "queries", "samples"])
def test_frames_that_are_no_message_are_answered_by_an_error(daemon, offset, name):
    frames, code, field, said = BAD_FRAMES[name]
    with Line(daemon, offset) as line:
        line.socket.send_multipart(frames)
        answer = line.receive()
    assert (answer["type"], answer["code"], answer["field"]) == ("error", code, field)
    assert said in answer["message"]
    assert len(answer["message"]) < 400


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_samples_that_are_wrong_are_refused_with_their_numbers(daemon, name):
    tensors, code, field, said = BAD_TENSORS[name]
    with Feeder(daemon) as feeder:
        feeder.listen()
        feeder.send("samples", tensors, **feeder.who, first=0, count=2)
        answer = feeder.receive()
    assert (answer["type"], answer["code"], answer["field"]) == ("error", code, field)
    assert (answer["first"], answer["count"]) == (0, 2)
    assert said in answer["message"]


@pytest.mark.parametrize("name", BAD_QUERIES)
def test_a_query_that_is_wrong_is_refused_with_its_id(daemon, name):
    tensors, code, field, said = BAD_QUERIES[name]
    with Line(daemon, QUERIES) as line:
        answer = line.ask("query", tensors)
    assert (answer["type"], answer["code"], answer["field"]) == ("error", code, field)
    assert said in answer["message"]


@pytest.mark.parametrize(
    ("offset", "kind", "expected"),
    [(CONTROL, "query", "'command'"), (QUERIES, "samples", "'query'"), (SAMPLES, "query", "hello, samples, bye")],
    ids=["control", "queries", "samples"],
)
def test_a_type_that_belongs_to_another_socket_is_unknown_there(daemon, offset, kind, expected):
    with Line(daemon, offset) as line:
        line.send(kind, id=7)
        answer = line.receive()
    assert (answer["code"], answer["field"]) == ("unknown_type", "type")
    assert expected in answer["message"]
    assert repr(kind) in answer["message"]


@pytest.mark.parametrize(
    ("offset", "kind", "fields", "field", "said"),
    [
        (QUERIES, "query", {"id": None}, "id", "got nothing"),
        (QUERIES, "query", {"id": -1}, "id", "got -1"),
        (QUERIES, "query", {"id": 1.5}, "id", "got 1.5"),
        (QUERIES, "query", {"id": True}, "id", "got True"),
        (QUERIES, "query", {"id": 2**64 - 1}, "id", "got 18446744073709551615"),
        (QUERIES, "query", {"id": 1, "deadline_ms": -1}, "deadline_ms", "got -1"),
        (QUERIES, "query", {"id": 1, "deadline_ms": float("nan")}, "deadline_ms", "got nan"),
        (QUERIES, "query", {"id": 1, "deadline_ms": "soon"}, "deadline_ms", "got 'soon'"),
        (SAMPLES, "hello", {"feeder": "", "epoch": 1, "first": 0}, "feeder", "got ''"),
        (SAMPLES, "hello", {"feeder": "x" * 129, "epoch": 1, "first": 0}, "feeder", "1 to 128"),
        (SAMPLES, "hello", {"feeder": 5, "epoch": 1, "first": 0}, "feeder", "got 5"),
        (SAMPLES, "hello", {"feeder": "x", "epoch": "1", "first": 0}, "epoch", "got '1'"),
        (SAMPLES, "hello", {"feeder": "x", "epoch": 1}, "first", "got nothing"),
        (SAMPLES, "samples", {"feeder": "x", "epoch": 1, "first": 0, "count": 0}, "count", "1 to 1024, got 0"),
        (SAMPLES, "samples", {"feeder": "x", "epoch": 1, "first": 0, "count": 1025}, "count", "got 1025"),
        (SAMPLES, "bye", {"feeder": "x"}, "epoch", "got nothing"),
        (CONTROL, "command", {"id": "a", "name": "status"}, "id", "got 'a'"),
        (CONTROL, "command", {"id": 1}, "name", "got nothing"),
        (CONTROL, "command", {"id": 1, "name": ["status"]}, "name", "got ['status']"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_came(daemon, offset, kind, fields, field, said):
    with Line(daemon, offset) as line:
        line.send(kind, {"inputs": IMAGES} if kind == "query" else None, **fields)
        answer = line.receive()
    assert (answer["code"], answer["field"]) == ("bad_field", field)
    assert said in answer["message"]


@pytest.mark.parametrize("depth", [100, 1_000])
@pytest.mark.parametrize(("offset", "kind"), [(CONTROL, "command"), (QUERIES, "query")], ids=["control", "queries"])
def test_a_field_nested_beyond_printing_is_refused_like_another(daemon, offset, kind, depth):
    with Line(daemon, offset) as line:
        line.socket.send_multipart(with_raw_field(kind, "id", nested(depth)))
        answer = line.receive()
    assert (answer["code"], answer["field"]) == ("bad_field", "id")


def test_an_unknown_command_is_told_the_known_ones(daemon):
    answer = command(daemon, "dance")
    assert (answer["code"], answer["field"], answer["id"]) == ("unknown_command", "name", 1)
    assert ", ".join(CommandName) in answer["message"]
    assert "'dance'" in answer["message"]


def test_a_count_that_is_not_that_of_the_inputs_is_refused(daemon):
    with Feeder(daemon) as feeder:
        feeder.listen()
        feeder.send("samples", {"inputs": IMAGES, "labels": LABELS}, **feeder.who, first=0, count=3)
        answer = feeder.receive()
    assert (answer["code"], answer["field"]) == ("bad_shape", "inputs")
    assert "count says 3 samples, got 2" in answer["message"]


# --- the push socket answers nothing, and counts ---

PUSHED = {name: (pack("samples", tensors, count=2), code, 2) for name, (tensors, code, _, _) in BAD_TENSORS.items()} | {
    name: (frames, code, 1) for name, (frames, code, _, _) in BAD_FRAMES.items()
}


@pytest.mark.parametrize("name", PUSHED)
def test_what_is_wrong_on_the_push_socket_is_counted_by_its_reason(daemon, name):
    frames, code, samples = PUSHED[name]
    before = [
        counted(daemon, "samples_dropped", reason=code),
        counted(daemon, "messages_rejected", code=code, socket="push"),
    ]
    with Line(daemon, PUSH, zmq.PUSH) as line:
        line.socket.send_multipart(frames)
        until(lambda: counted(daemon, "messages_rejected", code=code, socket="push") == before[1] + 1)
    until(lambda: counted(daemon, "samples_dropped", reason=code) == before[0] + samples)


def test_a_subscription_of_several_frames_ends_nothing(daemon):
    with Line(daemon, EVENTS, zmq.XSUB) as line:
        line.socket.send(b"\x01score")
        for _ in range(20):
            line.socket.send_multipart([b"Z", b"\x01score"])
        # Commands are answered meanwhile; the fixture asks for the rest.
        command(daemon, "sleep")
        command(daemon, "auto")
