"""The journal's records: everything that determines the weights, in the order in which it happened.

Replaying the records gives the same weights bit for bit. They tell which samples came, which of them a step took, how
many query rows were in its sweep (they decide which kernel multiplies), whether it ran compiled, when a phase changed
and what an operator commanded. All randomness follows from the seed, the version and the number of sham steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgpack
import numpy as np
from numpy.typing import NDArray

from ffstream.stream.inbox import SampleBatch


@dataclass(frozen=True)
class Received:
    """Samples were received; they are learned in the order of these records."""

    batch: SampleBatch


@dataclass(frozen=True)
class Stepped:
    """A learning step was made.

    Attributes
    ----------
    version
        Number of steps behind the weights before it; sham steps, which change nothing, do not count.
    samples
        Number of new samples that it took; 0 asleep.
    queries
        Number of query rows in its sweep.
    compiled
        True if it ran in the compiled loop, which rounds in another order; ``None`` in a journal from an older
        version: as configured.
    """

    version: int
    samples: int
    queries: int
    compiled: bool | None = None

    def ran_compiled(self, configured: bool) -> bool:
        """Return True if it ran in the compiled loop; ``configured`` is ``engine.compile``."""
        return configured if self.compiled is None else self.compiled


@dataclass(frozen=True)
class Advanced:
    """The schedule moved to another phase, given whether the stream was quiet, and the minute of the day."""

    quiet: bool
    minute: int = 0


@dataclass(frozen=True)
class Commanded:
    """An operator's command that changes the schedule was carried out."""

    name: str


@dataclass(frozen=True)
class RolledBack:
    """Learning went back to a checkpoint, which undid the steps from version ``version`` to ``undone``."""

    checkpoint: str
    version: int
    undone: int


@dataclass(frozen=True)
class Quarantined:
    """The next sample in line was set aside without learning it, because it ended the daemon twice."""

    feeder: str
    epoch: int
    number: int


Record: TypeAlias = Received | Stepped | Advanced | Commanded | RolledBack | Quarantined

_PLAIN: dict[str, Callable[..., Record]] = {
    kind.__name__: kind for kind in (Stepped, Advanced, Commanded, RolledBack, Quarantined)
}


def encode(record: Record) -> bytes:
    """Return a record as one msgpack list: its kind, then its fields."""
    if isinstance(record, Received):
        batch = record.batch
        fields = [batch.feeder, batch.epoch, batch.first, *_pack(batch.inputs), *_pack(batch.labels)]
    else:
        fields = list(vars(record).values())
    packed: bytes = msgpack.packb([type(record).__name__, *fields])
    return packed


def decode(body: bytes) -> Record:
    """Decode what ``encode`` returned; ValueError if it is something else."""
    try:
        kind, *fields = msgpack.unpackb(body)
        if kind != Received.__name__:
            return _PLAIN[kind](*fields)
        feeder, epoch, first, *arrays = fields
        return Received(SampleBatch(_unpack(*arrays[:3]), _unpack(*arrays[3:]), feeder, epoch, first))
    except (TypeError, KeyError, msgpack.UnpackException) as error:
        raise ValueError(f"not a record that this ffstream knows: {type(error).__name__}: {error}") from error


def _pack(array: NDArray[Any]) -> tuple[str, list[int], memoryview]:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.dtype.name, list(array.shape), little.reshape(-1).view(np.uint8).data


def _unpack(dtype: str, shape: list[int], content: bytes) -> NDArray[Any]:
    return np.frombuffer(content, np.dtype(dtype).newbyteorder("<")).reshape(shape)
