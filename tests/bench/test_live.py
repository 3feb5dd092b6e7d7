"""The benchmarks that start a daemon."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ffstream import Client
from ffstream.bench import changes, figures, latency, stream
from ffstream.bench.load import ask, feeding

NET = (64, 20, 20)


@pytest.mark.slow
def test_latency_has_a_row_a_load_and_number_of_clients(monkeypatch, tmp_path):
    fed: list[float] = []

    def noting(address: str, width: int, rate: float):
        fed.append(rate)
        return feeding(address, width, rate)

    monkeypatch.setattr(latency, "feeding", noting)
    monkeypatch.setattr(latency, "CLIENTS", (3,))
    monkeypatch.setattr(latency, "SETTLE_S", 0.1)
    rows = list(latency.measure(tmp_path, NET, seconds=2.0))
    assert [row.load for row in rows] == ["saturated", "half", "idle"]
    for row in rows:
        assert (row.queries, row.lost) == (150, 0)
        assert 0 < row.p50_ms <= row.p99_ms
        # Of 150 queries none can be said to be one of a thousand.
        assert row.p999_ms is None
        assert 0 < row.sweep_p50_ms <= row.sweep_p99_ms
    assert fed == [float("inf"), rows[0].samples_per_second / 2, 0]
    assert rows[2].samples_per_second == 0


@pytest.mark.slow
def test_streams_are_fed_in_each_way_beside_engine_and_learner_in_process(monkeypatch, tmp_path):
    monkeypatch.setattr(stream, "ROUNDS", 1)
    told: list[None] = []
    ways = (stream.Way(1, "float32", held=8), stream.Way(16, "uint8", ack="memory"), stream.Way(16, "uint8"))
    rows = stream.measure(tmp_path, NET, ways, 0.3, lambda: told.append(None))
    assert [(row.message_samples, row.held, row.dtype, row.ack) for row in rows] == [
        (1, 8, "float32", "durable"),
        (16, 1, "uint8", "memory"),
        (16, 1, "uint8", "durable"),
    ]
    assert [row.fraction_of_memory is None for row in rows] == [True, False, False]
    assert len(told) == stream.turns(ways) == 6
    for row in rows:
        assert row.fraction_of_in_process == pytest.approx(row.samples_per_second / row.in_process)
        assert row.fraction_of_learner == pytest.approx(row.samples_per_second / row.learner)
    # With a journal and without one are two engines.
    assert rows[0].in_process == rows[2].in_process != rows[1].in_process


FLAT = {"shape": [64]}


def test_a_late_answer_counts_from_when_its_query_was_due(start_daemon):
    daemon = start_daemon(network=FLAT)
    latencies = ask(daemon.address, 1, 64, np.zeros(40)).latencies
    # One client was asked forty things at once: each waited for those before it, and longer than them.
    assert (np.diff(latencies) > 0).all()


def test_a_feeder_feeds_only_as_long_as_it_is_asked_to(start_daemon):
    daemon = start_daemon(network=FLAT)
    with Client(daemon.address) as client:
        with feeding(daemon.address, 64, 500.0):
            assert client.status()["samples_learned"] > 0
        client.control("checkpoint")
        learned = client.status()["samples_learned"]
        time.sleep(0.3)
        assert client.status()["samples_learned"] == learned


def test_queries_near_phase_changes_stand_beside_the_others():
    due = np.array([0.005, 0.5, 0.985, 1.0, 1.015, 1.5, 2.0, 2.5])
    latencies = np.array([0.001, 0.001, 0.002, 0.002, np.nan, 0.001, 0.003, 0.001])
    rows = changes._rows(due, latencies, [(1.0, "sleep"), (2.0, "wake")], sweep_p99=0.5)
    assert [(row.when, row.queries, row.lost) for row in rows] == [
        ("falling asleep", 3, 1),
        ("waking", 1, 0),
        ("between", 4, 0),
    ]
    assert [row.longest_ms for row in rows] == pytest.approx([2.0, 3.0, 1.0])
    assert [row.p50_ms for row in rows] == [pytest.approx(2.0), None, pytest.approx(1.0)]
    assert [row.p99_ms for row in rows] == [None] * 3


@pytest.mark.slow
def test_a_daemon_is_queried_until_it_has_fallen_asleep_and_woken(tmp_path):
    # How long two phases take is the machine's business.
    for attempt, seconds in enumerate((3.0, 10.0, 30.0, 100.0)):
        (folder := tmp_path / str(attempt)).mkdir()
        told: list[None] = []
        found = changes.measure(folder, NET, 300, seconds, lambda told=told: told.append(None))
        assert len(told) == len(found.queries) == changes.queries(seconds)
        assert sum(row.queries for row in found.rows) >= len(found.queries)
        assert all(row.lost == 0 for row in found.rows)
        if {phase for _, phase in found.changes} == {"wake", "sleep"}:
            break
    assert {phase for _, phase in found.changes} == {"wake", "sleep"}
    figures.changes(found.queries.tolist(), found.changes, found.rows[0].sweep_p99_ms)
