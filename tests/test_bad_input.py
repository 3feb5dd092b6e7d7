"""Whatever a stranger sends is answered by an error or counted, and the daemon goes on learning and answering."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zmq
from daemons import starter, until
from plain_client import CONTROL, EVENTS, PUSH, QUERIES, SAMPLES, Feeder, Line, command, pack

MESSAGE_BYTES = 32_768
INBOX_SAMPLES = 4_096
FUZZ_MESSAGES = 2_000
# What a flood of ten seconds may add to the memory of a daemon whose inbox holds 4,096 samples of 64 bytes.
GROWTH_BYTES = 16 * 2**20

IMAGES = np.zeros((2, 8, 8), np.uint8)
LABELS = np.zeros(2, np.int64)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """One daemon that bears every test of this file but the full inbox."""
    with starter(tmp_path_factory.mktemp("bad")) as start:
        yield start(server={"message_bytes": MESSAGE_BYTES, "message_samples": 1024})


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
    "a frame too few": ([header(**DESCRIBED, tensors=[["a", "uint8", [1]]])], "truncated", "tensors", "1 tensors, 0"),
    "a frame too many": ([header(**DESCRIBED), b"abc"], "truncated", "tensors", "0 tensors, 1"),
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
    assert "status, sleep, wake" in answer["message"]
    assert "'dance'" in answer["message"]


def test_a_count_that_is_not_that_of_the_inputs_is_refused(daemon):
    with Feeder(daemon) as feeder:
        feeder.listen()
        feeder.send("samples", {"inputs": IMAGES, "labels": LABELS}, **feeder.who, first=0, count=3)
        answer = feeder.receive()
    assert (answer["code"], answer["field"]) == ("bad_shape", "inputs")
    assert "count says 3 samples, got 2" in answer["message"]


# --- too large ---


@pytest.mark.parametrize("offset", [QUERIES, SAMPLES], ids=["queries", "samples"])
def test_a_message_whose_frames_together_are_too_large_is_refused(daemon, offset):
    rows = MESSAGE_BYTES // 64
    frames = pack("samples", {"inputs": np.zeros((rows, 8, 8), np.uint8), "labels": np.zeros(rows, np.int64)})
    assert max(map(len, frames)) <= MESSAGE_BYTES < sum(map(len, frames))
    with Line(daemon, offset) as line:
        line.socket.send_multipart(frames)
        answer = line.receive()
    assert answer["code"] == "too_large"
    assert f"at most {MESSAGE_BYTES} bytes, got {sum(map(len, frames))}" in answer["message"]


def test_a_query_of_too_many_rows_is_refused(start_daemon):
    daemon = start_daemon(server={"message_samples": 8})
    with Line(daemon, QUERIES) as line:
        answer = line.ask("query", {"inputs": np.zeros((9, 8, 8), np.uint8)})
    assert (answer["code"], answer["field"]) == ("too_large", "inputs")
    assert "at most 8 rows, got 9" in answer["message"]


def test_a_command_of_too_many_bytes_is_refused(daemon):
    with Line(daemon, CONTROL) as line:
        line.socket.send_multipart([header(v=1, type="command", id=1, name="status"), bytes(60_000), bytes(60_000)])
        assert line.receive()["code"] == "too_large"


@pytest.mark.parametrize("offset", [CONTROL, QUERIES, SAMPLES], ids=["control", "queries", "samples"])
def test_a_frame_that_is_too_large_is_never_read(daemon, offset):
    with Line(daemon, offset) as line:
        line.socket.send(bytes(MESSAGE_BYTES * 4))
        assert line.receive(0.2) is None


def test_many_small_frames_are_one_message_and_refused_as_one(daemon):
    with Line(daemon, QUERIES) as line:
        line.socket.send_multipart([header(**DESCRIBED), *[b"x"] * 20_000])
        assert line.receive()["code"] == "truncated"
        assert line.receive(0.1) is None


# --- the push socket answers nothing, and counts ---


def counted(daemon, name, **labels):
    text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return daemon.metrics().get(f"ffstream_{name}_total{{{text}}}", 0.0)


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
    assert counted(daemon, "samples_dropped", reason=code) == before[0] + samples


# --- subscriptions, and strangers that do not speak the protocol at all ---


@pytest.mark.parametrize(
    "subscription",
    [
        b"replay/",
        b"replay/score/\xff\xfe/x",
        b"replay/score/0/" + b"x" * 60_000,
        b"replay/score/" + b"9" * 5_000 + b"/x",
    ],
    ids=["short", "no text", "long", "a number of 5,000 digits"],
)
def test_a_strange_subscription_harms_nobody(daemon, subscription):
    with Line(daemon, EVENTS, zmq.SUB) as line:
        line.socket.subscribe(subscription)
        line.socket.poll(300)


def test_what_is_published_to_the_publisher_is_ignored(daemon):
    with Line(daemon, EVENTS, zmq.XSUB) as line:
        for frames in ([b""], [b"\x01"], [b"\x00nothing"], [b"\x02"], [b"\x01replay/", b"more", b""]):
            line.socket.send_multipart(frames)
        line.socket.poll(100)


@pytest.mark.parametrize("offset", [CONTROL, QUERIES, SAMPLES, PUSH, EVENTS])
def test_who_does_not_speak_zeromq_harms_nobody(daemon, offset):
    address = ("127.0.0.1", daemon.config.server.port + offset)
    for said in (b"GET / HTTP/1.1\r\n\r\n", bytes(1_000), random.Random(offset).randbytes(1_000)):
        with socket.create_connection(address) as stranger:
            stranger.sendall(said)


# --- what must not keep the daemon from ending ---


def test_replies_that_nobody_reads_do_not_keep_it_from_ending(start_daemon):
    stopping = start_daemon()
    with zmq.Context.instance().socket(zmq.DEALER) as deaf:
        deaf.linger, deaf.rcvhwm, deaf.rcvbuf = 0, 1, 4_096
        deaf.connect(f"tcp://{stopping.address}")
        for number in range(30_000):
            deaf.send_multipart(pack("command", id=number, name="status"))
        # Until the replies fill every buffer on the way.
        until(lambda: counted(stopping, "replies_lost", socket="control"), 30)
        stopping.process.terminate()
        assert stopping.process.wait(15) == 0


def test_commands_that_come_while_it_stops_do_not_keep_it_from_ending(start_daemon):
    # Large enough for its last checkpoint to take a while: commands that come meanwhile find no engine any more.
    stopping = start_daemon(network={"hidden": [2_000, 2_000]})
    with Line(stopping, CONTROL) as line:
        stopping.process.terminate()
        for number in range(200):
            line.send("command", id=number, name="hold")
            time.sleep(0.005)
        assert stopping.process.wait(15) == 0


# --- fuzz ---

SEEDS = {
    CONTROL: [pack("command", id=1, name="status")],
    QUERIES: [pack("query", {"inputs": IMAGES}, id=1, deadline_ms=100)],
    SAMPLES: [
        pack("hello", feeder="fuzz", epoch=1, first=0),
        pack("samples", {"inputs": IMAGES, "labels": LABELS}, feeder="fuzz", epoch=1, first=0, count=2),
        pack("bye", feeder="fuzz", epoch=1),
    ],
    PUSH: [pack("samples", {"inputs": IMAGES, "labels": LABELS}, count=2)],
    EVENTS: [[b"\x01replay/score/0/x"], [b"\x01score"], [b"\x00score"]],
}
VALUES = (None, True, -1, 2**63, 2**64 - 1, 0.5, float("nan"), "", "x" * 200, b"\xff", [], [[]], {}, {"a": {"b": []}})


def mutate(frames, draw):
    """Change a valid message in one to three ways, or make up another."""
    if draw.random() < 0.1:
        return [draw.randbytes(draw.randrange(300)) for _ in range(draw.randint(1, 6))]
    frames = [bytes(frame) for frame in frames]
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(frames))
        frame = bytearray(frames[at])
        match draw.randrange(7):
            case 0 if frame:
                frame[draw.randrange(len(frame))] = draw.randrange(256)
            case 1:
                del frame[draw.randrange(len(frame) + 1) :]
            case 2:
                frame[draw.randrange(len(frame) + 1) :] = draw.randbytes(draw.randrange(40))
            case 3 if len(frames) > 1:
                del frames[at]
                continue
            case 4:
                frames.insert(at, draw.choice(frames))
                continue
            case 5 | 6:
                frame = with_changed_field(frame, draw)
        frames[at] = bytes(frame)
    return frames


def with_changed_field(frame, draw):
    """Replace a value of a header, or one within its tensors, by a strange one."""
    try:
        fields = msgpack.unpackb(frame)
    except ValueError:
        return frame
    if not isinstance(fields, dict) or not fields:
        return frame
    name = draw.choice(list(fields))
    if name == "tensors" and isinstance(fields[name], list) and fields[name] and draw.random() < 0.8:
        described = draw.choice(fields[name])
        if isinstance(described, list) and described:
            described[draw.randrange(len(described))] = draw.choice([*VALUES, [0, 2**31 - 1, 2**31 - 1, 2**31 - 1]])
    else:
        fields[name] = draw.choice(VALUES)
    return msgpack.packb(fields)


@pytest.mark.parametrize("offset", SEEDS, ids=["control", "queries", "samples", "push", "events"])
def test_thousands_of_mutated_messages_harm_nobody(daemon, offset):
    draw = random.Random(offset)
    kind = {PUSH: zmq.PUSH, EVENTS: zmq.XSUB}.get(offset, zmq.DEALER)
    answers = 0
    with Line(daemon, offset, kind) as line:
        for _ in range(FUZZ_MESSAGES):
            line.socket.send_multipart(mutate(draw.choice(SEEDS[offset]), draw))
            while kind != zmq.PUSH and line.socket.poll(0):
                line.socket.recv_multipart()
                answers += 1
        if kind == zmq.PUSH:
            line.socket.close(linger=5_000)
        while kind == zmq.DEALER and line.socket.poll(300):
            line.socket.recv_multipart()
            answers += 1
    # A message on the samples socket may be answered by nothing: a goodbye, samples behind refused ones.
    assert offset not in (CONTROL, QUERIES) or answers == FUZZ_MESSAGES


# --- the full inbox ---


def resident_bytes(process):
    """Return the memory of a process that lies in RAM."""
    statm = Path(f"/proc/{process.pid}/statm")
    if not statm.exists():
        pytest.skip("the memory of a process is read from /proc, which this system does not have")
    return int(statm.read_text().split()[1]) * 4096


def test_with_the_inbox_full_memory_is_bounded_nothing_acknowledged_is_lost_and_queries_are_answered(
    start_daemon, digits
):
    images, labels = digits
    # Ten seconds of events are not what is measured: only as many are kept as the warm-up makes.
    full = start_daemon(server={"inbox_samples": INBOX_SAMPLES, "replay_events": 100})
    with Feeder(full, "one") as one, Feeder(full, "two") as two, Line(full, QUERIES) as line:
        for feeder in (one, two):
            feeder.keep(images, labels)
            feeder.flush()
        for _ in range(200):
            line.ask("query", {"inputs": images[:20]})
        fed = 2 * len(labels)
        command(full, "hold")
        before = resident_bytes(full.process)
        for feeder in (one, two):
            for _ in range(3):
                feeder.keep(images, labels)
                fed += len(labels)
        pushed, waits = flood(full, (one, two), line, images, labels, seconds=10)
        grown = resident_bytes(full.process) - before

        assert grown < GROWTH_BYTES, f"{grown / 2**20:.0f} MiB"
        assert command(full, "status")["samples_waiting"] <= INBOX_SAMPLES
        assert len(waits) > 100
        assert max(waits) < 1
        for feeder in (one, two):
            assert feeder.held
            assert feeder.sent - feeder.marks["next"] <= INBOX_SAMPLES / 2

        command(full, "resume")
        one.flush()
        two.flush()
        until(lambda: counted(full, "samples_received", channel="push") == pushed)
        until(lambda: command(full, "status")["samples_waiting"] == 0)
        dropped = counted(full, "samples_dropped", reason="inbox_full")
        assert 0 < dropped < pushed
        assert counted(full, "samples_received", channel="acknowledged") == fed
        until(lambda: command(full, "status")["samples_learned"] == fed + pushed - dropped, 5)


def flood(daemon, feeders, line, images, labels, seconds):
    """Feed as far as credit goes, push without end, and query; return samples pushed and seconds waited a query."""
    pushed, waits = 0, []
    end = time.monotonic() + seconds
    with Line(daemon, PUSH, zmq.PUSH) as push:
        while time.monotonic() < end:
            for feeder in feeders:
                feeder.send_what_credit_allows()
                while feeder.socket.poll(0):
                    feeder.listen()
            for _ in range(20):
                if push.socket.poll(0, zmq.POLLOUT):
                    push.send("samples", {"inputs": images[:50], "labels": labels[:50]}, count=50)
                    pushed += 50
            asked = time.monotonic()
            assert line.ask("query", {"inputs": images[:20]})["type"] == "answer"
            waits.append(time.monotonic() - asked)
        push.socket.close(linger=30_000)
    return pushed, waits
