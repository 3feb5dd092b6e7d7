"""Who feeds, how far each has come, and how much each may still send; pure, no sockets.

Samples of a feeder are numbered from 0 within its epoch. Marks move along the numbers::

    0 ····· held ═════ learned, durable (in either order) ═════ expected ····· (sent, on its way)

Below ``held`` samples are learned *and* on disk, so nothing keeps them in memory any more. Credit is how many
samples, and bytes, may lie beyond it. Every active feeder has an equal share of the inbox, and the push socket one
more, so that the inbox cannot overflow and nothing is dropped.

How far a feeder is *acknowledged* is its own choice: up to what is received, durable, or learned (and durable).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from itertools import takewhile

ACTIVE_S = 60.0


class Level(StrEnum):
    """What an acknowledgement promises."""

    RECEIVED = "received"
    DURABLE = "durable"
    LEARNED = "learned"


class Verdict(Enum):
    """What becomes of numbered samples that arrived."""

    TAKE = "take"
    DUPLICATE = "duplicate"
    GAP = "gap"
    NO_CREDIT = "no_credit"


@dataclass(eq=False)
class Feeder:
    """One feeder's marks; ``peer`` is the route of its present connection.

    ``refused`` says why samples were sent back to it, until it sends again what is expected: what was on its way
    behind them is refused in silence. ``told`` are the marks that it was told last. ``in_flight`` has, for each message
    that is held, the number behind its last sample and its bytes.
    """

    epoch: int
    learned: int
    durable: int
    expected: int
    level: Level = Level.DURABLE
    peer: bytes = b""
    heard_at: float = float("-inf")
    refused: Verdict | None = None
    told: dict[str, int] = field(default_factory=dict)
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)
    in_flight_bytes: int = 0

    @property
    def held(self) -> int:
        """Number of the first sample that is not both learned and durable."""
        return min(self.learned, self.durable)

    @property
    def acknowledged(self) -> int:
        """Number of the first sample that is not acknowledged."""
        if self.level is Level.RECEIVED:
            return self.expected
        return self.durable if self.level is Level.DURABLE else self.held

    @property
    def waiting(self) -> int:
        """Samples accepted and still held."""
        return self.expected - self.held

    @property
    def acknowledged_bytes(self) -> int:
        """Bytes of the messages that are acknowledged and still held."""
        acknowledged = self.acknowledged
        return sum(nbytes for _, nbytes in takewhile(lambda message: message[0] <= acknowledged, self.in_flight))

    def take(self, upto: int, nbytes: int) -> None:
        """Count samples below ``upto`` as accepted."""
        self.expected = upto
        self.in_flight.append((upto, nbytes))
        self.in_flight_bytes += nbytes
        self.refused = None

    def skip(self, upto: int) -> None:
        """Pass over samples below ``upto`` that were refused with an error, so that those behind are not a gap."""
        self.expected = upto
        self.refused = None
        self._settle()

    def advance(self, *, learned: int = 0, durable: int = 0) -> None:
        """Note that samples below a number are learned, or durable."""
        self.learned = max(self.learned, learned)
        self.durable = max(self.durable, durable)
        self._settle()

    def _settle(self) -> None:
        held = self.held
        while self.in_flight and self.in_flight[0][0] <= held:
            self.in_flight_bytes -= self.in_flight.popleft()[1]
        if not self.in_flight:
            # What was passed over behind the last message is done with as well.
            self.learned = self.durable = self.expected


class Feeders:
    """Every feeder that is remembered, and the push socket, which has a share of its own.

    Parameters
    ----------
    samples, nbytes
        What the inbox holds at most.
    limit
        Feeders remembered; beyond it the one silent longest is forgotten.

    Attributes
    ----------
    pushed
        The marks of what is pushed.
    """

    def __init__(self, samples: int, nbytes: int, limit: int) -> None:
        self.samples = samples
        self.bytes = nbytes
        self.limit = limit
        self.pushed = Feeder(0, 0, 0, 0)
        self._feeders: OrderedDict[str, Feeder] = OrderedDict()

    def restore(self, marks: Mapping[str, tuple[int, int, int]]) -> None:
        """Go on from what is on disk; feeder to (epoch, next to be learned, next to come)."""
        for name, (epoch, learned, expected) in marks.items():
            feeder = self._feeders[name] = Feeder(epoch, learned, expected, expected)
            if feeder.waiting:
                feeder.in_flight.append((expected, 0))

    def get(self, name: str, epoch: int) -> Feeder | None:
        """Return a feeder that has said hello in this epoch, or None."""
        feeder = self._feeders.get(name)
        if feeder is None or feeder.epoch != epoch or not feeder.peer:
            return None
        self._feeders.move_to_end(name)
        return feeder

    def hello(self, name: str, epoch: int, first: int, level: Level, peer: bytes, now: float) -> Feeder:
        """Register a connection; ``first`` is the lowest number that the feeder can still send.

        What was accepted from an earlier connection and still waits is kept: the feeder goes on behind it.
        """
        feeder = self._feeders.get(name)
        if feeder is None or feeder.epoch != epoch:
            feeder = self._feeders[name] = Feeder(epoch, first, first, first)
        elif first > feeder.expected:
            # The feeder was acknowledged further than this daemon remembers: as received, and it died.
            feeder.in_flight.clear()
            feeder.in_flight_bytes = 0
            feeder.skip(first)
        feeder.level, feeder.peer, feeder.heard_at, feeder.refused = level, peer, now, None
        self._feeders.move_to_end(name)
        if len(self._feeders) > self.limit:
            # One with samples in hand is not forgotten: greeted again, it would have them learned twice.
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
        samples, size = self.share(now)
        # A single message may exceed the share in bytes: else a sample larger than the share could never come.
        too_large = feeder.in_flight and feeder.in_flight_bytes + nbytes > size
        return Verdict.NO_CREDIT if first + count - feeder.held > samples or too_large else Verdict.TAKE

    def advance(self, name: str, epoch: int, learned: int) -> Feeder | None:
        """Note that samples below ``learned`` are learned; return the feeder if that is its epoch."""
        feeder = self._feeders.get(name) if name else self.pushed
        if feeder is None or feeder.epoch != epoch:
            return None
        feeder.advance(learned=learned)
        return feeder

    def share(self, now: float) -> tuple[int, int]:
        """Return the share of each: samples and bytes that may be held at once."""
        shares = self.active(now) + 1
        return max(1, self.samples // shares), max(1, self.bytes // shares)

    def credit(self, feeder: Feeder, now: float) -> tuple[int, int]:
        """Return how many samples and bytes a feeder may have beyond what is acknowledged."""
        samples, size = self.share(now)
        held_back = max(0, feeder.acknowledged - feeder.held)
        return max(0, samples - held_back), max(0, size - feeder.acknowledged_bytes)

    def active(self, now: float) -> int:
        """Count the feeders heard of lately, or with samples in hand."""
        return sum(f.waiting > 0 or now - f.heard_at < ACTIVE_S for f in self._feeders.values())

    def connected(self) -> list[Feeder]:
        """Return the feeders that have a connection."""
        return [feeder for feeder in self._feeders.values() if feeder.peer]

    def starved(self) -> list[Feeder]:
        """Return the connected feeders that were refused for want of credit and have not been told of new credit."""
        return [feeder for feeder in self.connected() if feeder.refused is Verdict.NO_CREDIT]
