"""Who feeds, how far each has come, and how much each may still send; pure, no sockets.

Samples of a feeder are numbered from 0 within its epoch. Three marks follow each other through the numbers::

    0 ····· learned ═══ waiting in the inbox ═══ expected ····· (sent, on its way)

Credit is how many samples, and bytes, may lie beyond ``learned``. Every active feeder has an equal share of the
inbox, and the push socket one more, so the inbox cannot overflow and nothing is dropped.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

ACTIVE_S = 60.0


class Verdict(Enum):
    """What becomes of numbered samples that arrived."""

    TAKE = "take"
    DUPLICATE = "duplicate"
    GAP = "gap"
    NO_CREDIT = "no_credit"


@dataclass
class Feeder:
    """One feeder's marks; ``peer`` is the route of its present connection.

    ``refused`` says why samples were sent back to it, until it sends again what is expected: what was on its way
    behind them is refused in silence.
    """

    epoch: int
    learned: int
    expected: int
    peer: bytes = b""
    heard_at: float = float("-inf")
    refused: Verdict | None = None
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)

    @property
    def waiting(self) -> int:
        """Samples accepted and not yet learned."""
        return self.expected - self.learned

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the messages that are not yet learned whole."""
        return sum(size for _, size in self.in_flight)


class Feeders:
    """Every feeder that is remembered.

    Parameters
    ----------
    samples, nbytes
        What the inbox holds at most.
    limit
        Feeders remembered; beyond it the one silent longest is forgotten.
    learned
        Feeder to (epoch, next), as restored from a checkpoint.
    """

    def __init__(self, samples: int, nbytes: int, limit: int, learned: Mapping[str, tuple[int, int]]) -> None:
        self.samples = samples
        self.bytes = nbytes
        self.limit = limit
        self._feeders = OrderedDict((name, Feeder(epoch, upto, upto)) for name, (epoch, upto) in learned.items())

    def get(self, name: str, epoch: int) -> Feeder | None:
        """Return a feeder that has said hello in this epoch, or None."""
        feeder = self._feeders.get(name)
        if feeder is None or feeder.epoch != epoch or not feeder.peer:
            return None
        self._feeders.move_to_end(name)
        return feeder

    def hello(self, name: str, epoch: int, first: int, peer: bytes, now: float) -> Feeder:
        """Register a connection; ``first`` is the lowest number that the feeder can still send.

        What was accepted from an earlier connection and still waits is kept: the feeder goes on behind it.
        """
        feeder = self._feeders.get(name)
        if feeder is None or feeder.epoch != epoch:
            feeder = Feeder(epoch, first, first)
            self._feeders[name] = feeder
        elif first > feeder.expected:
            # The feeder was acknowledged further than this daemon remembers: it died before its last checkpoint.
            feeder.expected = feeder.learned = first
            feeder.in_flight.clear()
        feeder.peer, feeder.heard_at, feeder.refused = peer, now, None
        self._feeders.move_to_end(name)
        if len(self._feeders) > self.limit:
            # One with samples in the inbox is not forgotten: greeted again, it would have them learned twice.
            idle = [other for other, known in self._feeders.items() if not known.waiting and other != name]
            for other in idle[: len(self._feeders) - self.limit]:
                del self._feeders[other]
        return feeder

    def goodbye(self, name: str, epoch: int) -> None:
        """Give a feeder's share back to the others; how far it came is kept."""
        feeder = self.get(name, epoch)
        if feeder is not None:
            feeder.peer, feeder.heard_at = b"", float("-inf")

    def judge(self, feeder: Feeder, first: int, count: int, nbytes: int, now: float) -> Verdict:
        """Say what becomes of samples numbered first … first + count - 1; ``take`` them if the verdict says so."""
        feeder.heard_at = now
        if first + count <= feeder.expected:
            return Verdict.DUPLICATE
        if first > feeder.expected:
            return Verdict.GAP
        samples, size = self.credit(now)
        # A single message may exceed the share in bytes: else a sample larger than the share could never come.
        if first + count - feeder.learned > samples or (feeder.in_flight and feeder.waiting_bytes + nbytes > size):
            return Verdict.NO_CREDIT
        return Verdict.TAKE

    def take(self, feeder: Feeder, upto: int, nbytes: int) -> None:
        """Count samples below ``upto`` as accepted."""
        feeder.expected = upto
        feeder.in_flight.append((upto, nbytes))
        feeder.refused = None

    def skip(self, feeder: Feeder, upto: int) -> None:
        """Pass over samples below ``upto`` that were refused with an error, so that those behind are not a gap."""
        feeder.expected = upto
        feeder.refused = None
        if not feeder.in_flight:
            feeder.learned = upto

    def advance(self, name: str, epoch: int, upto: int) -> Feeder | None:
        """Note that samples below ``upto`` are learned; return the feeder if it is connected."""
        feeder = self._feeders.get(name)
        if feeder is None or feeder.epoch != epoch:
            return None
        feeder.learned = max(feeder.learned, upto)
        while feeder.in_flight and feeder.in_flight[0][0] <= feeder.learned:
            feeder.in_flight.popleft()
        if not feeder.in_flight:
            feeder.learned = feeder.expected
        return feeder if feeder.peer else None

    def credit(self, now: float) -> tuple[int, int]:
        """Return the share of each: samples and bytes that may be unacknowledged at once."""
        shares = self.active(now) + 1
        return max(1, self.samples // shares), max(1, self.bytes // shares)

    def active(self, now: float) -> int:
        """Count the feeders heard of lately, or with samples waiting."""
        return sum(f.waiting > 0 or now - f.heard_at < ACTIVE_S for f in self._feeders.values())

    def waiting(self) -> tuple[int, int]:
        """Return samples and bytes accepted from feeders and not yet learned."""
        feeders = self._feeders.values()
        return sum(f.waiting for f in feeders), sum(f.waiting_bytes for f in feeders)

    def starved(self) -> list[Feeder]:
        """Return the connected feeders that were refused for want of credit and have not been told of new credit."""
        return [f for f in self._feeders.values() if f.refused is Verdict.NO_CREDIT and f.peer]
