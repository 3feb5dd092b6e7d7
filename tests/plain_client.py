"""A client written from docs/protocol.md with pyzmq, msgpack and numpy; it uses nothing of ffstream."""

from __future__ import annotations

import itertools
import time
import uuid

import msgpack
import numpy as np
import zmq

CONTROL, QUERIES, SAMPLES, PUSH, EVENTS = range(5)
# How long what must come is waited for, and after which silence a feeder says hello again.
PATIENCE_S, SILENCE_S = 120.0, 1.0
SIZES = {"uint8": "u1", "float16": "<f2", "float32": "<f4", "int32": "<i4", "int64": "<i8"}


def pack(kind, tensors=None, **fields):
    """Build frames; ``tensors`` maps names to arrays."""
    header = {"v": 1, "type": kind, **fields}
    arrays = {name: np.asarray(array) for name, array in (tensors or {}).items()}
    if arrays:
        header["tensors"] = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    return [msgpack.packb(header), *(array.astype(SIZES[array.dtype.name]).tobytes() for array in arrays.values())]


def unpack(frames):
    """Return the header, with each tensor in place of its description."""
    header = msgpack.unpackb(frames[0])
    described = header.pop("tensors", [])
    for (name, dtype, shape), frame in zip(described, frames[1:], strict=True):
        header.setdefault("tensors", {})[name] = np.frombuffer(frame, SIZES[dtype]).reshape(shape)
    return header


class Line:
    """A socket to one of the daemon's ports."""

    def __init__(self, daemon, offset, kind=zmq.DEALER):
        self.socket = zmq.Context.instance().socket(kind)
        self.socket.linger = 0
        self.socket.connect(f"tcp://127.0.0.1:{daemon.config.server.port + offset}")
        self.ids = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, kind, tensors=None, **fields):
        self.socket.send_multipart(pack(kind, tensors, **fields))

    def receive(self, seconds=PATIENCE_S):
        """Return the next message, or None where there is none for so long."""
        return unpack(self.socket.recv_multipart()) if self.socket.poll(seconds * 1e3) else None

    def ask(self, kind, tensors=None, **fields):
        """Send a request and return the answer that carries its id."""
        number = next(self.ids)
        self.send(kind, tensors, id=number, **fields)
        while (answer := self.receive()) is not None:
            if answer["id"] == number:
                return answer
        raise AssertionError(f"{kind} {number} was not answered")


class Feeder(Line):
    """Feeds as the document says, step by step; holds messages as (first, inputs, labels)."""

    def __init__(self, daemon, name=None, epoch=1, message=50):
        super().__init__(daemon, SAMPLES)
        self.who = {"feeder": name or uuid.uuid4().hex, "epoch": epoch}
        self.message = message
        self.held = []
        self.numbered = self.sent = 0
        self.marks = {"next": 0, "expect": 0, "credit_samples": 0, "credit_bytes": 0}
        self.waits_for_credit = True
        self.greeted = False
        self.errors = []
        self.hello()

    def hello(self):
        self.greeted = False
        self.send("hello", **self.who, first=self.held[0][0] if self.held else self.numbered, ack="learned")

    def keep(self, inputs, labels):
        for start in range(0, len(labels), self.message):
            part = slice(start, start + self.message)
            self.held.append((self.numbered, inputs[part], labels[part]))
            self.numbered += len(labels[part])

    def send_samples(self, first, inputs, labels):
        self.send("samples", {"inputs": inputs, "labels": labels}, **self.who, first=first, count=len(labels))

    def send_what_credit_allows(self):
        for first, inputs, labels in self.held if not self.waits_for_credit else []:
            end = first + len(labels)
            if end <= self.sent:
                continue
            sent = sum(i.nbytes for f, i, y in self.held if self.marks["next"] < f + len(y) <= self.sent)
            too_many = end - self.marks["next"] > self.marks["credit_samples"]
            if too_many or (sent and sent + inputs.nbytes > self.marks["credit_bytes"]):
                break
            self.send_samples(first, inputs, labels)
            self.sent = end

    def listen(self, seconds=PATIENCE_S):
        """Take one message, and say hello after silence; return it."""
        message = self.receive(seconds)
        match message:
            case None if self.held:
                self.hello()
            case {"type": "error", "code": "unknown_feeder"}:
                if self.greeted:
                    self.hello()
            case {"type": "error"}:
                self.errors.append(message)
            case {"type": "welcome" | "ack" | "resend" as kind}:
                self.marks = {name: message[name] for name in self.marks}
                self.held = [one for one in self.held if one[0] + len(one[2]) > message["next"]]
                self.greeted |= kind == "welcome"
                self.waits_for_credit = message.get("reason") == "no_credit"
                if kind in ("welcome", "resend"):
                    self.sent = message["expect"]
        return message

    def flush(self):
        give_up = time.monotonic() + PATIENCE_S
        while self.held and time.monotonic() < give_up:
            self.send_what_credit_allows()
            self.listen(SILENCE_S)
        assert not self.held, f"{len(self.held)} messages were not acknowledged"


def command(daemon, name, **fields):
    with Line(daemon, CONTROL) as line:
        return line.ask("command", name=name, **fields)
