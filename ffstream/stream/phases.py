"""The wake/sleep state machine; pure, with no clock inside.

The engine tells the scheduler what happened (``stepped``) and asks it what comes next (``advance``)::

    alternating      WAKE ── wake_steps done, or the stream is quiet ──> SLEEP
                     SLEEP ── the nap is slept ──> WAKE
    together         TOGETHER, always
    override sleep   SLEEP until told otherwise (as soon as there is something to sleep on)
    override wake    WAKE until told otherwise: deprivation
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from ffstream.config import PhasesConfig
from ffstream.ff.lesson import Phase


class Override(StrEnum):
    """Who decides on the phase: the schedule, or an operator."""

    AUTO = "auto"
    WAKE = "wake"
    SLEEP = "sleep"


@dataclass(frozen=True)
class PhaseChange:
    """A phase began.

    ``reason`` is one of ``due`` (wake_steps are done), ``quiet`` (the stream is silent), ``rested`` (the nap is
    slept), ``command`` (an override) and ``schedule`` (the override ended).
    """

    phase: Phase
    previous: Phase
    reason: str


@dataclass
class Counts:
    """What the scheduler remembers; restored with a checkpoint."""

    phase: Phase = Phase.WAKE
    override: Override = Override.AUTO
    holding: bool = False
    awake_steps: int = 0
    awake_rows: int = 0
    slept_steps: int = 0
    nap_steps: int = 0
    nap_rows: int = 1


class Scheduler:
    """Decides which phase the next learning step belongs to.

    Parameters
    ----------
    config
        Schedule and lengths of the phases, in steps.
    """

    def __init__(self, config: PhasesConfig) -> None:
        self.config = config
        self._now = Counts(phase=self._awake)

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

    def obey(self, command: str) -> None:
        """Do what an operator says: ``sleep``, ``wake`` or ``auto``, ``hold`` or ``resume``."""
        if command in ("hold", "resume"):
            self.holding = command == "hold"
        else:
            self.override = Override(command)

    def advance(self, *, quiet: bool, can_sleep: bool) -> PhaseChange | None:
        """Move to the phase of the next step; return the change, or None where the phase goes on.

        Parameters
        ----------
        quiet
            No sample waits, and none has come for a while.
        can_sleep
            There is something to make negatives of.
        """
        phase, reason = self._next(quiet=quiet, can_sleep=can_sleep)
        now = self._now
        if now.holding or phase is now.phase:
            return None
        if phase is Phase.SLEEP:
            # A wake phase cut short is owed only its share of a nap.
            owed = self.config.sleep_steps * min(now.awake_steps, self.config.wake_steps)
            now.nap_steps = -(-owed // self.config.wake_steps)
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
        if self.phase is Phase.SLEEP:
            self._now.slept_steps += 1
        else:
            self._now.awake_steps += 1
            self._now.awake_rows += rows

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return asdict(self._now)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned, under the present schedule."""
        self._now = Counts(**{**state, "phase": Phase(state["phase"]), "override": Override(state["override"])})

    @property
    def _awake(self) -> Phase:
        return Phase.TOGETHER if self.config.schedule == "together" else Phase.WAKE

    def _next(self, *, quiet: bool, can_sleep: bool) -> tuple[Phase, str]:
        now = self._now
        if now.override is Override.WAKE:
            return Phase.WAKE, "command"
        if now.override is Override.SLEEP:
            return (Phase.SLEEP if can_sleep else now.phase), "command"
        if now.phase is not self._awake:
            if now.phase is Phase.SLEEP and self.config.schedule == "alternating":
                return (Phase.SLEEP if now.slept_steps < now.nap_steps else self._awake), "rested"
            return self._awake, "schedule"
        if self.config.schedule == "alternating" and can_sleep and now.awake_steps:
            if now.awake_steps >= self.config.wake_steps:
                return Phase.SLEEP, "due"
            if quiet:
                return Phase.SLEEP, "quiet"
        return now.phase, "schedule"
