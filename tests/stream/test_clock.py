"""The time of day may jump: nothing that learns or waits looks at it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from engines import Driven
from test_recovery import equal, whole

import ffstream

PACKAGE = Path(ffstream.__file__).parent


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    lives = []
    for jumps in (False, True):
        (folder := tmp_path / str(jumps)).mkdir()
        driven = Driven(folder, engine={"report_ms": 1e6})
        if jumps:
            then = time.time() + jump
            monkeypatch.setattr(time, "time", lambda then=then: then)
        driven.take_in(driven.batch(*_samples()))
        driven.turn(4)
        driven.order("checkpoint")
        lives.append(whole(driven))
        driven.close()
    assert equal(*lives)


def test_only_labels_come_from_the_time_of_day() -> None:
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    # When an event happened, when a checkpoint was saved and how old it is, the number of a new epoch; and when a
    # benchmark's queries were due, to lay them beside events. The doctor looks whether the clock is right.
    labels = {"daemon/events.py", "stream/checkpoint.py", "cli/listing.py", "client/__init__.py", "bench/load.py"}
    labels |= {"doctor/machine.py"}
    assert {name for name, text in sources.items() if "time.time" in text} == labels


def _samples():
    random = np.random.default_rng(0)
    return random.random((24, 6), np.float32), random.integers(0, 3, 24)
