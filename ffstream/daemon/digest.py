"""Rate-limited log lines: counts since the last line, and ongoing states."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import Counter

from ffstream.daemon.metrics import Metrics
from ffstream.stream.outbox import Report
from ffstream.stream.phases import Override

log = logging.getLogger(__name__)

# Minimum seconds between log lines of a count, and of an ongoing state.
COUNT_S, STATE_S = 60.0, 600.0


class Digest:
    """Logs what the metrics have counted since the last line, and which states are ongoing.

    A count is logged, by kind, when it first rises and then at most once a minute: naps, drops and refusals can occur
    thousands of times a second. A state is logged when it begins, every ten minutes while it lasts, and when it ends.

    Parameters
    ----------
    metrics
        Source of the counts.
    clock
        Returns monotonic seconds.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        now = clock()
        self._counts = [
            _Count(metrics.phase_changes, logging.INFO, "phases begun", now),
            _Count(metrics.feeder_connections, logging.INFO, "feeders connected", now),
            _Count(metrics.dropped, logging.WARNING, "pushed samples dropped", now),
            _Count(metrics.rejected, logging.WARNING, "messages refused", now),
        ]
        self._states = [
            _State(
                logging.ERROR,
                "weights or goodness are not finite, so answers mean nothing; use `ffstream ctl rollback NAME`",
                "weights and goodness are finite again",
                lambda report: bool(report.not_finite),
            ),
            _State(
                logging.WARNING,
                "learning is held by command; `ffstream ctl resume` continues it",
                "learning continues",
                lambda report: report.holding,
            ),
            *(_overridden(override) for override in Override if override is not Override.AUTO),
        ]

    def on_report(self, report: Report) -> None:
        """Log what is due."""
        now = self._clock()
        for count in self._counts:
            count.tell(now)
        for state in self._states:
            state.tell(now, lasts=state.in_report(report))


@dataclass
class _Count:
    """A counter of the metrics, and the values by label that were already logged.

    ``quiet_at`` is the last time at which nothing was left to log.
    """

    counter: Counter
    level: int
    text: str
    quiet_at: float
    told_at: float = float("-inf")
    told: dict[tuple[str, ...], float] = field(default_factory=dict)

    def tell(self, now: float) -> None:
        (family,) = self.counter.collect()
        counts = {tuple(sample.labels.values()): sample.value for sample in family.samples if sample.value}
        if counts == self.told:
            self.quiet_at = now
        elif now - self.told_at >= COUNT_S:
            new = {" ".join(labels): int(count - self.told.get(labels, 0)) for labels, count in counts.items()}
            parts = {kind: new[kind] for kind in sorted(new, key=lambda kind: (-new[kind], kind)) if new[kind]}
            listed = ", ".join(f"{count} {kind}" for kind, count in parts.items())
            fields = {"counts": parts, "seconds": now - self.quiet_at}
            log.log(self.level, "%s in %.0f s: %s", self.text, fields["seconds"], listed, extra=fields)
            self.told, self.told_at, self.quiet_at = counts, now, now


@dataclass
class _State:
    """A state to log: the message while it lasts, the message when it ends, and the test for it."""

    level: int
    text: str
    ended: str
    in_report: Callable[[Report], bool]
    since: float | None = None
    told_at: float = 0.0

    def tell(self, now: float, *, lasts: bool) -> None:
        if self.since is None:
            if lasts:
                self.since = self.told_at = now
                log.log(self.level, "%s", self.text)
        elif not lasts:
            log.info("%s, after %s", self.ended, _duration(now - self.since))
            self.since = None
        elif now - self.told_at >= STATE_S:
            self.told_at = now
            log.log(self.level, "for %s: %s", _duration(now - self.since), self.text)


def _overridden(override: Override) -> _State:
    return _State(
        logging.WARNING,
        f"the schedule is overridden by `{override.value}`; `ffstream ctl auto` gives the decision back to it",
        f"the override `{override.value}` ended",
        lambda report: report.override is override,
    )


def _duration(seconds: float) -> str:
    """Format a duration in the largest unit that it fills."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
