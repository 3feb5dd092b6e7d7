from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffstream.config import PhasesConfig
from ffstream.ff.lesson import Phase
from ffstream.stream.phases import Override, PhaseChange, Scheduler

WAKE, SLEEP, TOGETHER = Phase.WAKE, Phase.SLEEP, Phase.TOGETHER


def make_scheduler(wake: int = 4, sleep: int = 3, schedule: str = "alternating") -> Scheduler:
    return Scheduler(PhasesConfig(schedule=schedule, wake_steps=wake, sleep_steps=sleep))


def advance(scheduler: Scheduler, *, quiet: bool = False, can_sleep: bool = True) -> PhaseChange | None:
    return scheduler.advance(quiet=quiet, can_sleep=can_sleep)


def step(scheduler: Scheduler, steps: int, rows: int = 8) -> None:
    """Step as the engine does, advancing before each step."""
    for _ in range(steps):
        advance(scheduler)
        scheduler.stepped(rows)


def phases(scheduler: Scheduler, steps: int) -> list[Phase]:
    """Return the phase of each of the next steps."""
    taken = []
    for _ in range(steps):
        advance(scheduler)
        taken.append(scheduler.phase)
        scheduler.stepped(8)
    return taken


def nap_of(scheduler: Scheduler) -> int:
    """Sleep until rested, and count the steps."""
    steps = 0
    while advance(scheduler) is None:
        scheduler.stepped(8)
        steps += 1
    return steps


def test_it_begins_awake():
    assert make_scheduler().phase is WAKE


def test_wake_and_sleep_alternate_in_the_configured_lengths():
    assert phases(make_scheduler(4, 3), 14) == ([WAKE] * 4 + [SLEEP] * 3) * 2


def test_a_nap_is_due_when_the_wake_steps_are_done():
    scheduler = make_scheduler()
    step(scheduler, 4)
    assert advance(scheduler) == PhaseChange(SLEEP, WAKE, "due")


def test_it_wakes_rested_when_the_nap_is_slept():
    scheduler = make_scheduler()
    step(scheduler, 7)
    assert advance(scheduler) == PhaseChange(WAKE, SLEEP, "rested")


def test_a_quiet_stream_brings_the_nap_forward():
    scheduler = make_scheduler()
    step(scheduler, 2)
    assert advance(scheduler, quiet=True) == PhaseChange(SLEEP, WAKE, "quiet")


def test_a_quiet_stream_without_a_step_since_the_last_nap_brings_none():
    scheduler = make_scheduler()
    step(scheduler, 7)
    advance(scheduler)
    assert advance(scheduler, quiet=True) is None


def test_a_quiet_stream_does_not_cut_a_nap_short():
    scheduler = make_scheduler()
    step(scheduler, 5)
    assert advance(scheduler, quiet=True) is None


def test_it_stays_awake_while_there_is_nothing_to_sleep_on():
    scheduler = make_scheduler()
    step(scheduler, 4)
    assert advance(scheduler, quiet=True, can_sleep=False) is None


@pytest.mark.parametrize(
    ("wake", "sleep", "awake", "nap"),
    [(8, 8, 3, 3), (8, 8, 8, 8), (8, 4, 3, 2), (4, 8, 1, 2), (100, 1, 1, 1), (25, 25, 7, 7), (100, 100, 29, 29)],
)
def test_a_wake_phase_cut_short_is_owed_its_share_of_a_nap_rounded_up(wake, sleep, awake, nap):
    scheduler = make_scheduler(wake, sleep)
    step(scheduler, awake)
    advance(scheduler, quiet=True)
    assert nap_of(scheduler) == nap


def test_a_sleep_step_has_as_many_rows_as_a_wake_step_had_on_average():
    scheduler = make_scheduler(wake=3)
    for rows in (1, 32, 10):
        advance(scheduler)
        scheduler.stepped(rows)
    advance(scheduler)
    assert scheduler.sleep_rows == 15


def test_together_never_sleeps_by_itself():
    assert phases(make_scheduler(schedule="together"), 20) == [TOGETHER] * 20
    assert advance(make_scheduler(schedule="together"), quiet=True) is None


@pytest.mark.parametrize("schedule", ["alternating", "together"])
class TestOverrides:
    def test_sleep_sleeps_at_once_and_until_told_otherwise(self, schedule):
        scheduler = make_scheduler(schedule=schedule)
        before = scheduler.phase
        scheduler.override = Override.SLEEP
        assert advance(scheduler) == PhaseChange(SLEEP, before, "command")
        assert phases(scheduler, 50) == [SLEEP] * 50

    def test_sleep_waits_until_there_is_something_to_sleep_on(self, schedule):
        scheduler = make_scheduler(schedule=schedule)
        scheduler.override = Override.SLEEP
        assert advance(scheduler, can_sleep=False) is None
        assert advance(scheduler).phase is SLEEP

    def test_wake_deprives_of_sleep_until_told_otherwise(self, schedule):
        scheduler = make_scheduler(schedule=schedule)
        scheduler.override = Override.WAKE
        assert phases(scheduler, 50) == [WAKE] * 50
        assert advance(scheduler, quiet=True) is None

    def test_wake_ends_a_commanded_sleep(self, schedule):
        scheduler = make_scheduler(schedule=schedule)
        scheduler.override = Override.SLEEP
        step(scheduler, 5)
        scheduler.override = Override.WAKE
        assert advance(scheduler) == PhaseChange(WAKE, SLEEP, "command")

    def test_hold_freezes_the_schedule(self, schedule):
        scheduler = make_scheduler(schedule=schedule)
        step(scheduler, 4)
        scheduler.holding, scheduler.override = True, Override.SLEEP
        before = scheduler.phase
        assert advance(scheduler, quiet=True) is None
        assert scheduler.phase is before

    def test_resume_goes_on_where_hold_stopped(self, schedule):
        scheduler, unheld = make_scheduler(schedule=schedule), make_scheduler(schedule=schedule)
        step(scheduler, 2)
        step(unheld, 2)
        scheduler.holding = True
        advance(scheduler, quiet=True)
        scheduler.holding = False
        assert phases(scheduler, 20) == phases(unheld, 20)


def test_auto_after_a_commanded_sleep_wakes_by_schedule():
    scheduler = make_scheduler()
    scheduler.override = Override.SLEEP
    step(scheduler, 9)
    scheduler.override = Override.AUTO
    assert phases(scheduler, 7) == [WAKE] * 4 + [SLEEP] * 3


def test_auto_after_deprivation_owes_one_nap_and_no_more():
    scheduler = make_scheduler()
    scheduler.override = Override.WAKE
    step(scheduler, 100)
    scheduler.override = Override.AUTO
    assert advance(scheduler) == PhaseChange(SLEEP, WAKE, "due")
    assert nap_of(scheduler) == 3


@pytest.mark.parametrize("override", [Override.WAKE, Override.SLEEP])
def test_auto_returns_together_to_its_schedule(override):
    scheduler = make_scheduler(schedule="together")
    scheduler.override = override
    step(scheduler, 5)
    scheduler.override = Override.AUTO
    assert advance(scheduler) == PhaseChange(TOGETHER, override.value, "schedule")


@pytest.mark.parametrize("steps", range(1, 15))
def test_a_restored_scheduler_goes_on_as_the_first_one_does(steps):
    scheduler, restored = make_scheduler(), make_scheduler()
    step(scheduler, steps)
    restored.restore(scheduler.state())
    assert restored.sleep_rows == scheduler.sleep_rows
    assert phases(restored, 20) == phases(scheduler, 20)


@pytest.mark.parametrize(("override", "holding"), [(Override.WAKE, False), (Override.SLEEP, True)])
def test_an_override_and_a_hold_survive_a_restart(override, holding):
    scheduler, restored = make_scheduler(), make_scheduler()
    scheduler.override, scheduler.holding = override, holding
    restored.restore(scheduler.state())
    assert (restored.override, restored.holding) == (override, holding)


@pytest.mark.parametrize(
    ("saved", "now", "phase"), [("alternating", "together", TOGETHER), ("together", "alternating", WAKE)]
)
@pytest.mark.parametrize("steps", [2, 5])
def test_a_scheduler_restored_under_another_schedule_takes_to_it(saved, now, phase, steps):
    scheduler, restored = make_scheduler(schedule=saved), make_scheduler(schedule=now)
    step(scheduler, steps)
    restored.restore(scheduler.state())
    advance(restored)
    assert restored.phase is phase


LENGTHS = st.integers(1, 40)


@given(wake=LENGTHS, sleep=LENGTHS, quiet=st.lists(st.booleans(), max_size=200))
def test_no_nap_is_longer_than_the_share_of_the_wake_phase_before_it_rounded_up(wake, sleep, quiet):
    scheduler = make_scheduler(wake, sleep)
    awake = slept = 0
    for silent in quiet:
        change = advance(scheduler, quiet=silent)
        if change is not None and change.phase is WAKE:
            assert slept == -(-sleep * min(awake, wake) // wake)
            awake = slept = 0
        # A quiet stream brings no sample to learn awake; asleep there is memory.
        if scheduler.phase is SLEEP:
            slept += 1
        elif silent:
            continue
        else:
            awake += 1
        scheduler.stepped(8)
        assert awake <= wake


@given(
    schedule=st.sampled_from(["alternating", "together"]),
    events=st.lists(
        st.tuples(st.booleans(), st.booleans(), st.sampled_from([None, *Override]), st.booleans()), max_size=60
    ),
)
def test_every_change_leaves_the_phase_that_was_and_enters_the_phase_that_is(schedule, events):
    scheduler = make_scheduler(schedule=schedule)
    for quiet, can_sleep, override, holding in events:
        scheduler.override = override or scheduler.override
        scheduler.holding = holding
        before = scheduler.phase
        change = advance(scheduler, quiet=quiet, can_sleep=can_sleep)
        if change is None:
            assert scheduler.phase is before
        else:
            assert not holding
            assert change.previous is before is not change.phase is scheduler.phase
            assert change.phase is not SLEEP or can_sleep
        scheduler.stepped(8)
