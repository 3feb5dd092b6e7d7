"""Sleep and wake conditions of each schedule; pure logic, like the state machine that uses them (``phases``).

============  ==========================================  ====================================================
schedule      falls asleep when                           wakes when
============  ==========================================  ====================================================
together      never: each step learns both signs
alternating   a nap is owed, or the stream is quiet       nothing is owed any more
quiet         the stream is quiet                         samples come, or nothing is owed any more
clock         in its window a nap is owed, or the stream  nothing is owed any more, or the window is over
              is quiet
homeostatic   sleep pressure is above ``sleep_pressure``  it is below ``wake_pressure``, or after
                                                          ``longest_sleep`` steps; it then stays awake as long
============  ==========================================  ====================================================

A wake step adds ``sleep_steps / wake_steps`` of a sleep step to the debt; a sleep step pays one back. The debt is at
most ``longest_sleep`` steps, or one nap under ``alternating``, so that years awake do not demand years asleep.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum

from ffstream.config import PhasesConfig
from ffstream.ff.lesson import Phase


class Override(StrEnum):
    """Operator's override of the schedule.

    ``auto`` and ``sham`` leave the phase to the schedule, but under ``sham`` sleep changes nothing.
    """

    AUTO = "auto"
    WAKE = "wake"
    SLEEP = "sleep"
    SHAM = "sham"


@dataclass(frozen=True)
class Told:
    """External conditions that a schedule takes into account.

    Attributes
    ----------
    quiet
        True if no sample waits and none has come for a while.
    minute
        Minutes since midnight, local time.
    """

    quiet: bool
    minute: int


@dataclass
class Felt:
    """The two errors behind sleep pressure, 0 … 1 each.

    Attributes
    ----------
    wake_error
        Probability that real data is called negative; wake reduces it.
    sleep_error
        Probability that a negative is called real; sleep reduces it.
    """

    wake_error: float = 1.0
    sleep_error: float = 1.0

    @property
    def pressure(self) -> float:
        """Sleep pressure, 0 … 1: the share of the error that only sleep can reduce; 0 if there is no error."""
        error = self.wake_error + self.sleep_error
        return self.sleep_error / error if error else 0.0

    def move(self, wake_error: float | None, sleep_error: float | None, share: float) -> None:
        """Move each error a share of the way to a step's error; ``None`` leaves it unchanged."""
        if wake_error is not None:
            self.wake_error += share * (wake_error - self.wake_error)
        if sleep_error is not None:
            self.sleep_error += share * (sleep_error - self.sleep_error)


@dataclass
class Counts:
    """State of the scheduler; restored with a checkpoint.

    Attributes
    ----------
    phase, override, holding
        Phase of the next step; the operator's override; True if learning is held.
    awake_steps, awake_rows
        Steps and rows since the last sleep.
    slept_steps
        Steps of the current sleep, or of the last one.
    nap_rows
        Rows per sleep step.
    owed
        Sleep debt in units of 1 / ``wake_steps`` of a sleep step, so that it is exact.
    sham_steps
        Sleep steps that changed nothing, since the first start.
    felt
        Running means of the errors over rows; updated only if the schedule uses them.
    """

    phase: Phase = Phase.WAKE
    override: Override = Override.AUTO
    holding: bool = False
    awake_steps: int = 0
    awake_rows: int = 0
    slept_steps: int = 0
    nap_rows: int = 1
    owed: int = 0
    sham_steps: int = 0
    felt: Felt = field(default_factory=Felt)


class Schedule(ABC):
    """Decides when to sleep and when to wake.

    Attributes
    ----------
    awake
        Phase of the steps outside sleep.
    feels
        True if it uses sleep pressure.
    most_owed
        Maximum sleep debt, in sleep steps.
    """

    awake = Phase.WAKE
    feels = False

    def __init__(self, config: PhasesConfig) -> None:
        self.most_owed = config.longest_sleep

    @abstractmethod
    def why_sleep(self, now: Counts, told: Told) -> str:
        """Return the reason to fall asleep, or an empty string to stay awake."""

    @abstractmethod
    def why_wake(self, now: Counts, told: Told) -> str:
        """Return the reason to wake, or an empty string to stay asleep."""


class Together(Schedule):
    """Each step learns both signs; nothing is left for sleep."""

    awake = Phase.TOGETHER

    def why_sleep(self, now: Counts, told: Told) -> str:
        return ""

    def why_wake(self, now: Counts, told: Told) -> str:
        return "schedule"


class Alternating(Schedule):
    """Naps as soon as a full nap is owed, or earlier when the stream is quiet."""

    def __init__(self, config: PhasesConfig) -> None:
        self.most_owed = config.sleep_steps
        self._nap = config.sleep_steps * config.wake_steps

    def why_sleep(self, now: Counts, told: Told) -> str:
        if now.owed >= self._nap:
            return "due"
        return "quiet" if told.quiet and now.owed else ""

    def why_wake(self, now: Counts, told: Told) -> str:
        return "" if now.owed else "rested"


class Quiet(Schedule):
    """Stays awake while samples come, and pays the sleep debt while none do."""

    def why_sleep(self, now: Counts, told: Told) -> str:
        return "quiet" if told.quiet and now.owed else ""

    def why_wake(self, now: Counts, told: Told) -> str:
        if not told.quiet:
            return "roused"
        return "" if now.owed else "rested"


class Clock(Schedule):
    """Pays the day's sleep debt in a daily window; learning in the window is followed by naps."""

    def __init__(self, config: PhasesConfig) -> None:
        super().__init__(config)
        self._nap = config.sleep_steps * config.wake_steps
        self._from, self._until = (_minutes(time) for time in (config.sleep_from, config.sleep_until))

    def why_sleep(self, now: Counts, told: Told) -> str:
        owing = now.owed >= self._nap or (told.quiet and now.owed)
        return "clock" if owing and self._at_night(told.minute) else ""

    def why_wake(self, now: Counts, told: Told) -> str:
        if not self._at_night(told.minute):
            return "clock"
        return "" if now.owed else "rested"

    def _at_night(self, minute: int) -> bool:
        day = 24 * 60
        return (minute - self._from) % day < (self._until - self._from) % day


class Homeostatic(Schedule):
    """Sleep pressure builds up awake and is discharged asleep."""

    feels = True

    def __init__(self, config: PhasesConfig) -> None:
        super().__init__(config)
        self._config = config

    def why_sleep(self, now: Counts, told: Told) -> str:
        # If the longest sleep did not discharge the pressure, stay awake as long before sleeping again.
        config = self._config
        least = max(config.wake_steps, config.longest_sleep if self._spent(now) else 0)
        return "pressure" if now.awake_steps >= least and now.felt.pressure > config.sleep_pressure else ""

    def why_wake(self, now: Counts, told: Told) -> str:
        if now.felt.pressure < self._config.wake_pressure:
            return "rested"
        return "limit" if self._spent(now) else ""

    def _spent(self, now: Counts) -> bool:
        return now.slept_steps >= self._config.longest_sleep


SCHEDULES: dict[str, type[Schedule]] = {
    "together": Together,
    "alternating": Alternating,
    "quiet": Quiet,
    "clock": Clock,
    "homeostatic": Homeostatic,
}


def _minutes(time: str) -> int:
    hour, minute = time.split(":")
    return 60 * int(hour) + int(minute)
