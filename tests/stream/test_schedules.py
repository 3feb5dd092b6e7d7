"""When the schedules quiet, clock and homeostatic sleep, what they owe, and what sham sleep leaves as it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_phases import advance, phases, step

from ffstream.config import PhasesConfig, parse
from ffstream.errors import ConfigError
from ffstream.ff.lesson import Phase
from ffstream.stream.phases import REASONS, Felt, Override, PhaseChange, Scheduler

WAKE, SLEEP = Phase.WAKE, Phase.SLEEP
MIDNIGHT, NOON = 0, 12 * 60


def scheduler_of(schedule: str, wake: int = 4, sleep: int = 4, **more: Any) -> Scheduler:
    return Scheduler(PhasesConfig(schedule=schedule, wake_steps=wake, sleep_steps=sleep, **more))


def at(scheduler: Scheduler, minute: int, *, quiet: bool = False) -> PhaseChange | None:
    return scheduler.advance(quiet=quiet, can_sleep=True, minute=minute)


def awake(scheduler: Scheduler, steps: int, minute: int = NOON) -> Scheduler:
    """Learn so many steps from a stream that is not silent."""
    for _ in range(steps):
        at(scheduler, minute)
        assert scheduler.phase is WAKE
        scheduler.stepped(8)
    return scheduler


def slept(scheduler: Scheduler, minute: int = NOON, *, quiet: bool = True) -> tuple[int, str]:
    """Sleep until something wakes it; return the steps, and the reason."""
    steps = 0
    while (change := at(scheduler, minute, quiet=quiet)) is None:
        scheduler.stepped(8)
        steps += 1
        assert steps < 1_000
    return steps, change.reason


class TestDebt:
    @pytest.mark.parametrize(("wake", "sleep", "debt"), [(4, 4, 7.0), (4, 2, 3.5), (3, 1, 7 / 3), (1, 3, 21.0)])
    def test_a_wake_step_owes_its_share_of_a_sleep_step(self, wake, sleep, debt):
        assert awake(scheduler_of("quiet", wake, sleep), 7).debt == debt

    def test_a_sleep_step_pays_one_and_nothing_is_paid_in_advance(self):
        scheduler = awake(scheduler_of("quiet", 4, 2), 3)
        at(scheduler, NOON, quiet=True)
        scheduler.stepped(8)
        assert scheduler.debt == 0.5
        scheduler.stepped(8)
        assert scheduler.debt == 0

    def test_a_long_time_awake_owes_the_longest_sleep(self):
        assert awake(scheduler_of("quiet", longest_sleep=20), 1_000).debt == 20

    def test_steps_of_both_signs_owe_nothing(self):
        scheduler = scheduler_of("together")
        step(scheduler, 9)
        assert scheduler.debt == 0

    def test_deprivation_owes_sleep(self):
        scheduler = scheduler_of("quiet")
        scheduler.override = Override.WAKE
        step(scheduler, 9)
        assert scheduler.debt == 9

    def test_it_survives_a_restart_and_is_bounded_anew(self):
        state = awake(scheduler_of("quiet", longest_sleep=20), 30).state()
        same, shorter = scheduler_of("quiet", longest_sleep=20), scheduler_of("quiet", longest_sleep=5)
        same.restore(state)
        shorter.restore(state)
        assert (same.debt, shorter.debt) == (20, 5)

    @given(
        wake=st.integers(1, 9),
        sleep=st.integers(1, 9),
        silences=st.lists(st.booleans(), max_size=150),
    )
    def test_alternating_sleeps_as_much_as_it_owes_to_less_than_one_step_a_nap(self, wake, sleep, silences):
        scheduler = scheduler_of("alternating", wake, sleep)
        woken = slept_steps = naps = 0
        for silent in silences:
            change = advance(scheduler, quiet=silent)
            naps += change is not None and change.phase is SLEEP
            if scheduler.phase is WAKE and silent:
                continue
            scheduler.stepped(8)
            woken += scheduler.phase is WAKE
            slept_steps += scheduler.phase is SLEEP
        owed = woken * sleep / wake
        # The last step of a nap may pay more than is owed; that is not remembered.
        assert owed - slept_steps - 1e-9 <= scheduler.debt <= max(0, owed - slept_steps + naps)


class TestQuiet:
    def test_it_never_naps_while_samples_come(self):
        assert phases(scheduler_of("quiet"), 500) == [WAKE] * 500

    def test_a_quiet_stream_is_slept_through_until_nothing_is_owed(self):
        scheduler = awake(scheduler_of("quiet"), 30)
        assert at(scheduler, NOON, quiet=True) == PhaseChange(SLEEP, WAKE, "quiet")
        assert slept(scheduler) == (30, "rested")
        assert at(scheduler, NOON, quiet=True) is None

    def test_samples_rouse_it_and_the_rest_is_still_owed(self):
        scheduler = awake(scheduler_of("quiet"), 30)
        at(scheduler, NOON, quiet=True)
        scheduler.stepped(8)
        assert at(scheduler, NOON) == PhaseChange(WAKE, SLEEP, "roused")
        assert scheduler.debt == 29
        at(scheduler, NOON, quiet=True)
        assert slept(scheduler) == (29, "rested")

    def test_it_stays_awake_while_there_is_nothing_to_sleep_on(self):
        assert awake(scheduler_of("quiet"), 3).advance(quiet=True, can_sleep=False) is None


class TestClock:
    @pytest.mark.parametrize(
        ("begins", "ends", "minute", "asleep"),
        [
            ("23:00", "07:00", MIDNIGHT, True),
            ("23:00", "07:00", 22 * 60 + 59, False),
            ("23:00", "07:00", 23 * 60, True),
            ("23:00", "07:00", 7 * 60 - 1, True),
            ("23:00", "07:00", 7 * 60, False),
            ("23:00", "07:00", NOON, False),
            ("01:30", "02:00", 90, True),
            ("01:30", "02:00", 120, False),
            ("01:30", "02:00", MIDNIGHT, False),
            ("00:00", "23:59", 23 * 60 + 58, True),
        ],
    )
    def test_it_sleeps_in_its_window_alone(self, begins, ends, minute, asleep):
        scheduler = scheduler_of("clock", sleep_from=begins, sleep_until=ends)
        scheduler.override = Override.WAKE
        awake(scheduler, 30)
        scheduler.override = Override.AUTO
        change = at(scheduler, minute)
        assert change == (PhaseChange(SLEEP, WAKE, "clock") if asleep else None)

    def test_it_wakes_when_what_the_day_owed_is_slept_though_samples_wait(self):
        scheduler = awake(scheduler_of("clock"), 30)
        at(scheduler, MIDNIGHT)
        assert slept(scheduler, MIDNIGHT, quiet=False) == (30, "rested")
        assert at(scheduler, MIDNIGHT) is None

    def test_the_end_of_the_window_wakes_it_in_debt(self):
        scheduler = awake(scheduler_of("clock"), 30)
        at(scheduler, MIDNIGHT)
        scheduler.stepped(8)
        assert at(scheduler, NOON) == PhaseChange(WAKE, SLEEP, "clock")
        assert scheduler.debt == 29

    def test_what_is_learned_at_night_is_followed_by_naps(self):
        scheduler = scheduler_of("clock", 4, 2)
        found = []
        for _ in range(12):
            at(scheduler, MIDNIGHT)
            found.append(scheduler.phase)
            scheduler.stepped(8)
        assert found == ([WAKE] * 4 + [SLEEP] * 2) * 2

    def test_a_quiet_night_is_not_spent_awake_in_debt(self):
        scheduler = awake(scheduler_of("clock"), 1)
        assert at(scheduler, MIDNIGHT, quiet=True) == PhaseChange(SLEEP, WAKE, "clock")


class TestHomeostatic:
    @pytest.mark.parametrize(
        ("wake_error", "sleep_error", "pressure"), [(1.0, 1.0, 0.5), (0.1, 0.3, 0.75), (0.2, 0.0, 0.0), (0.0, 0.0, 0.0)]
    )
    def test_pressure_is_the_share_of_the_error_that_only_sleep_can_mend(self, wake_error, sleep_error, pressure):
        assert Felt(wake_error, sleep_error).pressure == pytest.approx(pressure)

    def test_it_begins_undecided(self):
        assert scheduler_of("homeostatic").pressure == 0.5

    def feel(self, scheduler: Scheduler, wake_error: float | None, sleep_error: float | None) -> None:
        scheduler.feel(wake_error, sleep_error, 100_000)

    def test_it_sleeps_when_pressure_is_high_and_wakes_when_it_is_low(self):
        scheduler = awake(scheduler_of("homeostatic"), 4)
        self.feel(scheduler, 0.1, 0.1)
        assert at(scheduler, NOON) is None
        self.feel(scheduler, 0.1, 0.3)
        assert at(scheduler, NOON) == PhaseChange(SLEEP, WAKE, "pressure")
        self.feel(scheduler, 0.1, 0.1)
        assert at(scheduler, NOON) is None
        self.feel(scheduler, 0.3, 0.1)
        assert at(scheduler, NOON) == PhaseChange(WAKE, SLEEP, "rested")

    def test_what_sleep_cannot_discharge_ends_it_and_the_stream_is_learned_for_as_long(self):
        scheduler = awake(scheduler_of("homeostatic", longest_sleep=9), 4)
        self.feel(scheduler, 0.0, 1.0)
        at(scheduler, NOON)
        assert slept(scheduler) == (9, "limit")
        assert phases(scheduler, 18) == [WAKE] * 9 + [SLEEP] * 9

    def test_an_error_that_a_step_did_not_show_stays_as_it_was(self):
        scheduler = scheduler_of("homeostatic")
        self.feel(scheduler, 0.25, None)
        assert scheduler.pressure == pytest.approx(0.8)
        self.feel(scheduler, None, 0.25)
        assert scheduler.pressure == pytest.approx(0.5)

    def test_a_row_alone_moves_it_less_than_many(self):
        alone, many = scheduler_of("homeostatic"), scheduler_of("homeostatic")
        alone.feel(0.0, 1.0, 1)
        many.feel(0.0, 1.0, 64)
        assert 0.5 < alone.pressure < many.pressure < 0.7

    def test_it_survives_a_restart(self):
        scheduler, restored = scheduler_of("homeostatic"), scheduler_of("homeostatic")
        scheduler.feel(0.1, 0.7, 640)
        restored.restore(scheduler.state())
        assert restored.pressure == scheduler.pressure != 0.5


@pytest.mark.parametrize("schedule", ["alternating", "quiet", "clock", "homeostatic"])
def test_sham_leaves_every_phase_to_the_schedule(schedule):
    one, other = scheduler_of(schedule), scheduler_of(schedule)
    other.override = Override.SHAM
    for number in range(300):
        changes = {at(scheduler, number * 5, quiet=number % 50 > 40) for scheduler in (one, other)}
        assert len(changes) == 1
        for scheduler in (one, other):
            scheduler.feel(0.5, number % 40 / 20, 400)
            scheduler.stepped(8)
    assert (one.sham_steps, other.sham_steps > 0) == (0, True)


def test_only_sleep_under_sham_is_a_sham():
    scheduler = scheduler_of("alternating")
    scheduler.override = Override.SHAM
    assert not scheduler.shams
    step(scheduler, 4)
    advance(scheduler)
    assert scheduler.shams
    scheduler.override = Override.AUTO
    assert not scheduler.shams


def test_a_state_of_before_debt_and_pressure_opens():
    older = {"phase": "sleep", "override": "auto", "holding": False, "awake_steps": 4, "awake_rows": 8}
    scheduler = scheduler_of("alternating")
    scheduler.restore({**older, "slept_steps": 1, "nap_steps": 4, "nap_rows": 2})
    assert (scheduler.phase, scheduler.sleep_rows, scheduler.debt) == (SLEEP, 2, 0)


@given(
    schedule=st.sampled_from(["alternating", "together", "quiet", "clock", "homeostatic"]),
    world=st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 24 * 60 - 1),
            st.sampled_from([None, *Override]),
            st.floats(0, 1),
            st.floats(0, 1),
        ),
        max_size=80,
    ),
)
def test_every_reason_is_a_known_one_and_asking_twice_changes_nothing(schedule, world):
    scheduler = scheduler_of(schedule, 2, 3, longest_sleep=4)
    for quiet, minute, override, wake_error, sleep_error in world:
        scheduler.override = override or scheduler.override
        change = at(scheduler, minute, quiet=quiet)
        if change is not None:
            assert change.reason in REASONS[change.phase]
        before = scheduler.state()
        if at(scheduler, minute, quiet=quiet) is None:
            assert scheduler.state() == before
        scheduler.feel(wake_error, sleep_error, 200)
        scheduler.stepped(8)
        assert 0 <= scheduler.debt <= 4
        assert 0 <= scheduler.pressure <= 1


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ({"schedule": "nightly"}, r"phases\.schedule"),
        ({"sleep_from": "24:00"}, r"phases\.sleep_from"),
        ({"sleep_until": "7:00"}, r"phases\.sleep_until"),
        ({"sleep_from": "07:00", "sleep_until": "07:00"}, "is empty"),
        ({"sleep_pressure": 1.5}, r"phases\.sleep_pressure"),
        ({"sleep_pressure": 0.4, "wake_pressure": 0.4}, r"wake_pressure 0\.4 must be below"),
        ({"longest_sleep": 0}, r"phases\.longest_sleep"),
    ],
)
def test_what_cannot_be_slept_by_is_refused_by_the_name_of_the_key(phases, message):
    with pytest.raises(ConfigError, match=message):
        parse({"phases": phases}, "test")
