"""The wake/sleep state machine; pure, with no clock inside.

The engine tells the scheduler what happened (``stepped``) and asks it what comes next (``advance``)::

    schedule         WAKE ── it falls asleep ──> SLEEP ── it wakes ──> WAKE, see ``ffstream.stream.schedules``
    together         TOGETHER, always
    override sleep   SLEEP until told otherwise (as soon as there is something to sleep on)
    override wake    WAKE until told otherwise: deprivation
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

# Rows that the running means behind sleep pressure reach back, about.
FELT_ROWS = 128
# Why a phase may begin; see ``PhaseChange``.
REASONS = {
    Phase.WAKE: ("rested", "roused", "limit", "clock", "command", "schedule"),
    Phase.SLEEP: ("due", "quiet", "pressure", "clock", "command"),
    Phase.TOGETHER: ("schedule",),
}


@dataclass(frozen=True)
class PhaseChange:
    """A phase began.

    ``reason`` is one of ``due`` (a nap is owed), ``quiet`` (the stream is silent), ``pressure`` (sleep pressure is
    high), ``clock`` (the window begins or is over), ``rested`` (what was owed is slept, or the pressure discharged),
    ``roused`` (samples came), ``limit`` (the longest sleep), ``command`` (an override) and ``schedule`` (the override
    ended).
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
        """Rows of a sleep step: as many as a step had, on average, in the wake phase before it."""
        return self._now.nap_rows

    @property
    def override(self) -> Override:
        """Who decides on the phase."""
        return self._now.override

    @override.setter
    def override(self, override: Override) -> None:
        self._now.override = override

    @property
    def holding(self) -> bool:
        """Whether learning is held: queries are answered, nothing is learned, the schedule stands still."""
        return self._now.holding

    @holding.setter
    def holding(self, holding: bool) -> None:
        self._now.holding = holding

    @property
    def shams(self) -> bool:
        """Whether the next learning step is to change nothing: sleep under the override ``sham``."""
        return self._now.override is Override.SHAM and self.phase is Phase.SLEEP

    @property
    def sham_steps(self) -> int:
        """Steps that changed nothing, since the first start."""
        return self._now.sham_steps

    @property
    def debt(self) -> float:
        """Sleep steps that are owed."""
        return self._now.owed / self.config.wake_steps

    @property
    def feels(self) -> bool:
        """Whether the schedule looks at sleep pressure, so that ``feel`` must follow each step."""
        return self._schedule.feels

    @property
    def pressure(self) -> float:
        """Sleep pressure, 0 … 1, as the schedule feels it; 1/2 where it does not."""
        return self._now.felt.pressure

    def obey(self, command: str) -> None:
        """Do what an operator says: ``sleep``, ``wake``, ``sham`` or ``auto``, ``hold`` or ``resume``."""
        if command in ("hold", "resume"):
            self.holding = command == "hold"
        else:
            self.override = Override(command)

    def advance(self, *, quiet: bool, can_sleep: bool, minute: int = 0) -> PhaseChange | None:
        """Move to the phase of the next step; return the change, or None where the phase goes on.

        Parameters
        ----------
        quiet
            No sample waits, and none has come for a while.
        can_sleep
            There is something to make negatives of.
        minute
            Minutes since midnight, local time; only the schedule ``clock`` looks at it.
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
        """Count one learning step of the present phase, and the rows that it learned from."""
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
        """Take in the errors of a step of so many rows, means over them; ``None``: it showed nothing of that sign."""
        self._now.felt.move(wake_error, sleep_error, 1 - (1 - 1 / FELT_ROWS) ** rows)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return asdict(self._now)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned, under the present schedule; what it does not say is at its default."""
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
