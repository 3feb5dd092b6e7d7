"""Strangers that speak no protocol, and thousands of messages that nearly do, harm nobody."""

from __future__ import annotations

import random
import socket

import msgpack
import numpy as np
import pytest
import zmq
from plain_client import CONTROL, EVENTS, PUSH, QUERIES, SAMPLES, Line, pack

FUZZ_MESSAGES = 2_000


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


TENSORS = {"inputs": np.zeros((2, 8, 8), np.uint8), "labels": np.zeros(2, np.int64)}
SEEDS = {
    CONTROL: [pack("command", id=1, name="status")],
    QUERIES: [pack("query", {"inputs": TENSORS["inputs"]}, id=1, deadline_ms=100)],
    SAMPLES: [
        pack("hello", feeder="fuzz", epoch=1, first=0),
        pack("samples", TENSORS, feeder="fuzz", epoch=1, first=0, count=2),
        pack("bye", feeder="fuzz", epoch=1),
    ],
    PUSH: [pack("samples", TENSORS, count=2)],
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
        # A message on the samples socket may be answered by nothing: a goodbye, samples behind refused ones.
        while offset in (CONTROL, QUERIES) and answers < FUZZ_MESSAGES:
            assert line.receive(), f"{answers} answers"
            answers += 1
