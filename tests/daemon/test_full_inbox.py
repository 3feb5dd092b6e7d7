"""With the inbox full memory is bounded, nothing acknowledged is lost, and queries are answered."""

from __future__ import annotations

from pathlib import Path

import pytest
import zmq
from daemons import counted, until
from plain_client import PUSH, QUERIES, Feeder, Line, command

INBOX_SAMPLES = 4_096
ROUNDS = 1_000
# What a flood may add to the memory of a daemon whose inbox holds 4,096 samples of 64 bytes.
GROWTH_BYTES = 16 * 2**20


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
    # The events of the flood are not what is measured: only as many are kept as the warm-up makes.
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
        pushed = flood(full, (one, two), line, images, labels)
        grown = resident_bytes(full.process) - before

        assert grown < GROWTH_BYTES, f"{grown / 2**20:.0f} MiB"
        assert command(full, "status")["samples_waiting"] <= INBOX_SAMPLES
        assert pushed > INBOX_SAMPLES
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
        until(lambda: command(full, "status")["samples_learned"] == fed + pushed - dropped)


def flood(daemon, feeders, line, images, labels):
    """Feed as far as credit goes, push whatever is let out, and query, in rounds; return the samples pushed."""
    pushed = 0
    with Line(daemon, PUSH, zmq.PUSH) as push:
        for _ in range(ROUNDS):
            for feeder in feeders:
                feeder.send_what_credit_allows()
                while feeder.socket.poll(0):
                    feeder.listen()
            for _ in range(20):
                if push.socket.poll(0, zmq.POLLOUT):
                    push.send("samples", {"inputs": images[:50], "labels": labels[:50]}, count=50)
                    pushed += 50
            assert line.ask("query", {"inputs": images[:20]})["type"] == "answer"
        push.socket.close(linger=120_000)
    return pushed
