"""The wake/sleep state machine; pure logic, with no clock inside.

The engine tells the scheduler what happened (``stepped``) and asks it what comes next (``advance``)::

    schedule         WAKE ── it falls asleep ──> SLEEP ── it wakes ──> WAKE, see ``ffstream.stream.schedules``
    together         TOGETHER, always
    override sleep   SLEEP until the next override (as soon as there is something to sleep on)
    override wake    WAKE until the next override: deprivation
    override sham    as the schedule says, but sleep changes nothing
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from ffstream.config import PhasesConfig
from ffstream.ff.lesson import Phase
from ffstream.stream.schedules import SCHEDULES, Counts, Felt, Override, Told

__all__ = ["REASONS", "Felt", "Override", "PhaseChange", "Scheduler"]

# Approximate window, in rows, of the running means behind sleep pressure.
FELT_ROWS = 128
# Reasons for which each phase may begin; see ``PhaseChange``.
REASONS = {
    Phase.WAKE: ("rested", "roused", "limit", "clock", "command", "schedule"),
    Phase.SLEEP: ("due", "quiet", "pressure", "clock", "command"),
    Phase.TOGETHER: ("schedule",),
}


@dataclass(frozen=True)
class PhaseChange:
    """A phase began.

    ``reason`` is one of ``due`` (a nap is owed), ``quiet`` (the stream is quiet), ``pressure`` (sleep pressure is
    high), ``clock`` (the window begins or is over), ``rested`` (the debt is paid, or the pressure discharged),
    ``roused`` (samples came), ``limit`` (the longest sleep is over), ``command`` (an override) and ``schedule`` (the
    override ended).
    """

    phase: Phase
    previous: Phase
    reason: str


class Scheduler:
    """Decides which phase the next learning step belongs to.

    Parameters
    ----------
    config
        Schedule and lengths of the phases, in steps.
    """

    def __init__(self, config: PhasesConfig) -> None:
        self.config = config
        self._schedule = SCHEDULES[config.schedule](config)
        self._now = Counts(phase=self._schedule.awake)

    @property
    def phase(self) -> Phase:
        """The phase that the next learning step belongs to."""
        return self._now.phase

    @property
    def sleep_rows(self) -> int:
        """Rows per sleep step: the mean per step of the wake phase before it, rounded up."""
        return self._now.nap_rows

    @property
    def override(self) -> Override:
        """Operator's override of the schedule."""
        return self._now.override

    @override.setter
    def override(self, override: Override) -> None:
        self._now.override = override

    @property
    def holding(self) -> bool:
        """True if learning is held: queries are answered, nothing is learned, the schedule stands still."""
        return self._now.holding

    @holding.setter
    def holding(self, holding: bool) -> None:
        self._now.holding = holding

    @property
    def shams(self) -> bool:
        """True if the next learning step must change nothing: sleep under the override ``sham``."""
        return self._now.override is Override.SHAM and self.phase is Phase.SLEEP

    @property
    def sham_steps(self) -> int:
        """Steps that changed nothing, since the first start."""
        return self._now.sham_steps

    @property
    def debt(self) -> float:
        """Sleep debt, in sleep steps."""
        return self._now.owed / self.config.wake_steps

    @property
    def feels(self) -> bool:
        """True if the schedule uses sleep pressure, so that ``feel`` must follow each step."""
        return self._schedule.feels

    @property
    def pressure(self) -> float:
        """Sleep pressure, 0 … 1, as the schedule tracks it; 1/2 if it never did."""
        return self._now.felt.pressure

    def obey(self, command: str) -> None:
        """Carry out an operator's command: ``sleep``, ``wake``, ``sham``, ``auto``, ``hold`` or ``resume``."""
        if command in ("hold", "resume"):
            self.holding = command == "hold"
        else:
            self.override = Override(command)

    def advance(self, *, quiet: bool, can_sleep: bool, minute: int = 0) -> PhaseChange | None:
        """Move to the phase of the next step; return the change, or None if the phase goes on.

        Parameters
        ----------
        quiet
            True if no sample waits and none has come for a while.
        can_sleep
            True if there is something to make negatives from.
        minute
            Minutes since midnight, local time; only the schedule ``clock`` uses it.
        """
        phase, reason = self._next(Told(quiet, minute), can_sleep=can_sleep)
        now = self._now
        if now.holding or phase is now.phase:
            return None
        if phase is Phase.SLEEP:
            if now.awake_steps:
                now.nap_rows = math.ceil(now.awake_rows / now.awake_steps)
            now.slept_steps = 0
        else:
            now.awake_steps = now.awake_rows = 0
        change = PhaseChange(phase, now.phase, reason)
        now.phase = phase
        return change

    def stepped(self, rows: int) -> None:
        """Count one learning step of the current phase, and the rows that it learned from."""
        now = self._now
        if self.phase is Phase.SLEEP:
            now.sham_steps += self.shams
            now.slept_steps += 1
            now.owed = max(0, now.owed - self.config.wake_steps)
            return
        now.awake_steps += 1
        now.awake_rows += rows
        if self.phase is Phase.WAKE:
            now.owed = self._bounded(now.owed + self.config.sleep_steps)

    def feel(self, wake_error: float | None, sleep_error: float | None, rows: int) -> None:
        """Update the running means with a step's mean errors over its rows; ``None`` leaves an error unchanged."""
        self._now.felt.move(wake_error, sleep_error, 1 - (1 - 1 / FELT_ROWS) ** rows)

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint must hold."""
        return asdict(self._now)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state`` under the current schedule; missing fields take their defaults."""
        known = {field.name: state[field.name] for field in fields(Counts) if field.name in state}
        phase, override, felt = Phase(state["phase"]), Override(state["override"]), Felt(**state.get("felt", {}))
        now = Counts(**{**known, "phase": phase, "override": override, "felt": felt})
        now.owed = self._bounded(now.owed)
        self._now = now

    def _bounded(self, owed: int) -> int:
        return min(owed, self._schedule.most_owed * self.config.wake_steps)

    def _next(self, told: Told, *, can_sleep: bool) -> tuple[Phase, str]:
        now, awake = self._now, self._schedule.awake
        if now.override is Override.WAKE:
            return Phase.WAKE, "command"
        if now.override is Override.SLEEP:
            return (Phase.SLEEP if can_sleep else now.phase), "command"
        if now.phase is Phase.SLEEP:
            reason = self._schedule.why_wake(now, told)
            return (awake if reason else Phase.SLEEP), reason
        if now.phase is not awake:
            return awake, "schedule"
        reason = self._schedule.why_sleep(now, told) if can_sleep else ""
        return (Phase.SLEEP if reason else awake), reason
