"""Progress and credit of each feeder; pure, no sockets.

A feeder's samples are numbered from 0 within its epoch. Marks advance along these numbers::

    0 ····· held ═════ learned, durable (in either order) ═════ expected ····· (sent, on its way)

Samples below ``held`` are learned *and* on disk, so they are no longer kept in memory. Credit is the number of samples
and bytes allowed beyond it. Every active feeder has an equal share of the inbox, and so has the push socket, so that
the inbox cannot overflow and nothing is dropped.

Each feeder chooses what *acknowledged* means for it: received, durable, or learned (and durable).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from itertools import takewhile

ACTIVE_S = 60.0


class Level(StrEnum):
    """Promise that an acknowledgement makes."""

    RECEIVED = "received"
    DURABLE = "durable"
    LEARNED = "learned"


class Verdict(Enum):
    """Decision about numbered samples that arrived."""

    TAKE = "take"
    DUPLICATE = "duplicate"
    GAP = "gap"
    NO_CREDIT = "no_credit"


@dataclass(eq=False)
class Feeder:
    """One feeder's marks; ``peer`` is the route of its current connection.

    ``refused`` is the reason for the last refusal, kept until the expected samples arrive; samples that were already on
    their way are refused silently until then. ``told`` holds the marks last sent to the feeder. ``in_flight`` holds,
    for each message still held, the number after its last sample and its size in bytes.
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
        """Number of samples accepted and still held."""
        return self.expected - self.held

    @property
    def acknowledged_bytes(self) -> int:
        """Bytes of the messages that are acknowledged and still held."""
        acknowledged = self.acknowledged
        return sum(nbytes for _, nbytes in takewhile(lambda message: message[0] <= acknowledged, self.in_flight))

    def take(self, upto: int, nbytes: int) -> None:
        """Mark samples below ``upto`` as accepted."""
        self.expected = upto
        self.in_flight.append((upto, nbytes))
        self.in_flight_bytes += nbytes
        self.refused = None

    def skip(self, upto: int) -> None:
        """Skip samples below ``upto`` that were refused with an error, so that the samples after them are not a gap."""
        self.expected = upto
        self.refused = None
        self._settle()

    def advance(self, *, learned: int = 0, durable: int = 0) -> None:
        """Mark samples below a number as learned, or as durable."""
        self.learned = max(self.learned, learned)
        self.durable = max(self.durable, durable)
        self._settle()

    def _settle(self) -> None:
        held = self.held
        while self.in_flight and self.in_flight[0][0] <= held:
            self.in_flight_bytes -= self.in_flight.popleft()[1]
        if not self.in_flight:
            # Samples skipped after the last message are done as well.
            self.learned = self.durable = self.expected


class Feeders:
    """All remembered feeders, and the push socket, which has its own share.

    Parameters
    ----------
    samples, nbytes
        Maximum samples and bytes in the inbox.
    limit
        Maximum number of feeders remembered; beyond it, the feeder that was silent longest is forgotten.

    Attributes
    ----------
    pushed
        Marks of the pushed samples.
    """

    def __init__(self, samples: int, nbytes: int, limit: int) -> None:
        self.samples = samples
        self.bytes = nbytes
        self.limit = limit
        self.pushed = Feeder(0, 0, 0, 0)
        self._feeders: OrderedDict[str, Feeder] = OrderedDict()

    def restore(self, marks: Mapping[str, tuple[int, int, int]]) -> None:
        """Restore the marks found on disk: feeder to (epoch, next to learn, next to receive)."""
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

        Samples accepted from an earlier connection and still waiting are kept; the feeder continues after them.
        """
        feeder = self._feeders.get(name)
        if feeder is None or feeder.epoch != epoch:
            feeder = self._feeders[name] = Feeder(epoch, first, first, first)
        elif first > feeder.expected:
            # The feeder was acknowledged beyond what this daemon remembers: as received, before the daemon died.
            feeder.in_flight.clear()
            feeder.in_flight_bytes = 0
            feeder.skip(first)
        feeder.level, feeder.peer, feeder.heard_at, feeder.refused = level, peer, now, None
        self._feeders.move_to_end(name)
        if len(self._feeders) > self.limit:
            # A feeder with waiting samples is not forgotten: after another hello, they would be learned twice.
            idle = [other for other, known in self._feeders.items() if not known.waiting and other != name]
            for other in idle[: len(self._feeders) - self.limit]:
                del self._feeders[other]
        return feeder

    def goodbye(self, name: str, epoch: int) -> None:
        """Return a feeder's share to the others; its marks are kept."""
        feeder = self.get(name, epoch)
        if feeder is not None:
            feeder.peer, feeder.heard_at = b"", float("-inf")

    def judge(self, feeder: Feeder, first: int, count: int, nbytes: int, now: float) -> Verdict:
        """Judge samples numbered first … first + count - 1; the caller calls ``take`` on Verdict.TAKE."""
        feeder.heard_at = now
        if first + count <= feeder.expected:
            return Verdict.DUPLICATE
        if first > feeder.expected:
            return Verdict.GAP
        samples, size = self.share(now)
        # A single message may exceed the share in bytes; otherwise a sample larger than the share could never be taken.
        too_large = feeder.in_flight and feeder.in_flight_bytes + nbytes > size
        return Verdict.NO_CREDIT if first + count - feeder.held > samples or too_large else Verdict.TAKE

    def advance(self, name: str, epoch: int, learned: int) -> Feeder | None:
        """Mark samples below ``learned`` as learned; return the feeder, or None if it is in another epoch."""
        feeder = self._feeders.get(name) if name else self.pushed
        if feeder is None or feeder.epoch != epoch:
            return None
        feeder.advance(learned=learned)
        return feeder

    def share(self, now: float) -> tuple[int, int]:
        """Return the share of each feeder: samples and bytes that may be held at once."""
        shares = self.active(now) + 1
        return max(1, self.samples // shares), max(1, self.bytes // shares)

    def credit(self, feeder: Feeder, now: float) -> tuple[int, int]:
        """Return the samples and bytes that a feeder may send beyond its acknowledged mark."""
        samples, size = self.share(now)
        held_back = max(0, feeder.acknowledged - feeder.held)
        return max(0, samples - held_back), max(0, size - feeder.acknowledged_bytes)

    def active(self, now: float) -> int:
        """Count the feeders that were heard from recently or have samples waiting."""
        return sum(f.waiting > 0 or now - f.heard_at < ACTIVE_S for f in self._feeders.values())

    def connected(self) -> list[Feeder]:
        """Return the connected feeders."""
        return [feeder for feeder in self._feeders.values() if feeder.peer]

    def starved(self) -> list[Feeder]:
        """Return the connected feeders that were refused for lack of credit and not offered new credit since."""
        return [feeder for feeder in self.connected() if feeder.refused is Verdict.NO_CREDIT]
