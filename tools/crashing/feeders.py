"""The feeders of a test and their samples; a sample's content is a function of its feeder and its number."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ffstream.wire import Array

SHAPE, LABELS = (8, 8), 10
EPOCH = 1


@dataclass(frozen=True)
class Feeder:
    """A feeder under a fixed name.

    Attributes
    ----------
    dtype
        Data type of the samples that it sends.
    ack
        Promise that it requests of an acknowledgement.
    """

    dtype: Literal["uint8", "float32"]
    ack: Literal["durable", "learned"]

    @property
    def name(self) -> str:
        """Name of the feeder, for the daemon and for its ledger."""
        return f"{self.dtype}-{self.ack}"

    def samples(self, first: int, count: int) -> tuple[Array, NDArray[np.int64]]:
        """Return the samples numbered from ``first``: inputs (count, 8, 8) and labels (count,)."""
        inputs = np.empty((count, *SHAPE), self.dtype)
        labels = np.empty(count, np.int64)
        for row in range(count):
            draws = np.random.default_rng((zlib.crc32(self.name.encode()), first + row))
            labels[row] = draws.integers(LABELS)
            inputs[row] = draws.random(SHAPE) * (255 if self.dtype == "uint8" else 1)
        return inputs, labels


FEEDERS = (
    Feeder("uint8", "durable"),
    Feeder("float32", "durable"),
    Feeder("uint8", "learned"),
    Feeder("float32", "learned"),
)


class LedgerError(Exception):
    """Raised if a ledger is not a valid record of acknowledgements."""


def read_ledger(path: Path) -> int:
    """Return the number up to which a feeder's samples were acknowledged: its last line, or 0 in an empty ledger.

    Raises
    ------
    LedgerError
        If a line is not a number, or is less than the one before it: an acknowledgement was revoked.
    """
    upto = 0
    for number, line in enumerate(path.read_text("ascii", errors="replace").splitlines(), 1):
        if not line.isdecimal() or int(line) < upto:
            raise LedgerError(f"{path}:{number}: expected a number from {upto} on, got {line!r}")
        upto = int(line)
    return upto
