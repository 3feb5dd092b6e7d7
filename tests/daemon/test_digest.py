"""What goes on is told at a bounded rate, and nothing of it is lost."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from test_events import report

from ffstream.daemon.digest import COUNT_S, STATE_S, Digest
from ffstream.daemon.metrics import Metrics
from ffstream.stream.phases import Override

QUIET = replace(report(), holding=False, override=Override.AUTO)


class Told:
    """A digest under a clock of the test's, and what it logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self.now = 1_000.0
        self.metrics = Metrics()
        self._digest = Digest(self.metrics, lambda: self.now)
        self._caplog = caplog

    def after(self, seconds: float, **changes: object) -> list[str]:
        """Let some time pass, report, and return what that told."""
        self.now += seconds
        self._caplog.clear()
        self._digest.on_report(replace(QUIET, **changes))
        return [f"{record.levelname} {record.getMessage()}" for record in self._caplog.records]


@pytest.fixture
def told(caplog):
    return Told(caplog)


def test_while_nothing_happens_nothing_is_told(told):
    assert [told.after(100) for _ in range(20)] == [[]] * 20


def test_what_is_dropped_first_is_told_at_once_and_then_once_a_minute_by_reason(told):
    told.after(500)
    told.metrics.dropped.labels("inbox_full").inc(3)
    assert told.after(0.25) == ["WARNING pushed samples dropped in 0 s: 3 inbox_full"]
    for _ in range(59):
        told.metrics.dropped.labels("inbox_full").inc(10)
        told.metrics.dropped.labels("no_disk").inc(20)
        assert told.after(1) == []
    assert told.after(1) == [f"WARNING pushed samples dropped in {COUNT_S:.0f} s: 1180 no_disk, 590 inbox_full"]
    assert told.after(COUNT_S) == []


def test_after_a_quiet_time_the_next_is_told_at_once(told):
    told.metrics.rejected.labels("queries", "bad_shape").inc()
    assert told.after(1) == ["WARNING messages refused in 1 s: 1 queries bad_shape"]
    told.after(10 * COUNT_S)
    told.metrics.rejected.labels("queries", "bad_shape").inc(2)
    assert told.after(1) == ["WARNING messages refused in 1 s: 2 queries bad_shape"]


def test_naps_are_summed_up_and_each_count_has_a_line_of_its_own(told):
    for phase, reason in (("sleep", "due"), ("wake", "rested")):
        told.metrics.phase_changes.labels(phase, reason).inc(400)
    told.metrics.feeder_connections.labels("durable").inc()
    assert told.after(1) == [
        "INFO phases begun in 1 s: 400 sleep due, 400 wake rested",
        "INFO feeders connected in 1 s: 1 durable",
    ]


def test_a_line_has_its_numbers_as_fields(told, caplog):
    told.metrics.dropped.labels("inbox_full").inc(3)
    told.after(2)
    (record,) = caplog.records
    assert (record.counts, record.seconds) == ({"inbox_full": 3}, 2)


def test_what_is_held_is_told_at_the_beginning_every_ten_minutes_and_at_the_end(told):
    text = "learning is held by command; `ffstream ctl resume` continues it"
    assert told.after(5, holding=True) == [f"WARNING {text}"]
    assert told.after(STATE_S - 1, holding=True) == []
    assert told.after(1, holding=True) == [f"WARNING for 10 min: {text}"]
    assert told.after(STATE_S / 2, holding=True) == []
    assert told.after(2 * 3_600, holding=True) == [f"WARNING for 2 h: {text}"]
    assert told.after(1) == ["INFO learning continues, after 2 h"]
    assert told.after(STATE_S) == []


def test_an_override_that_takes_the_place_of_another_is_told_as_such(told):
    assert told.after(1, override=Override.WAKE)[0].startswith("WARNING the schedule is overridden by `wake`")
    ended, begun = sorted(told.after(30, override=Override.SLEEP))
    assert ended == "INFO the override `wake` ended, after 30 s"
    assert begun.startswith("WARNING the schedule is overridden by `sleep`")


def test_what_is_not_finite_is_an_error(told):
    (line,) = told.after(1, weight_norm=[float("nan")])
    assert line.startswith("ERROR weights or goodness are not finite")
