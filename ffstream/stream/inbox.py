"""Queues of work for the engine: samples, queries and commands."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ffstream.commands import EngineCommand

if TYPE_CHECKING:
    from ffstream.stream.snapshot import Snapshot


@dataclass(frozen=True)
class SampleBatch:
    """Samples of one feeder, in order.

    Attributes
    ----------
    inputs
        (n, *shape), uint8 or float.
    labels
        (n,) integers; -1 where there is none.
    feeder
        Name of the sender; ``""`` for samples whose acknowledgement nobody awaits.
    epoch
        Lifetime of the feeder to which the sequence numbers belong.
    first
        Sequence number of the first sample.
    lsn, offset
        The journal record that holds it, and the number of samples before it in that record.
    """

    inputs: NDArray[Any]
    labels: NDArray[Any]
    feeder: str = ""
    epoch: int = 0
    first: int = 0
    lsn: int = 0
    offset: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Position of its first sample in the journal."""
        return self.lsn, self.offset

    def at(self, lsn: int) -> SampleBatch:
        """Return these samples as held by a journal record."""
        return replace(self, lsn=lsn)

    def split(self, count: int) -> tuple[SampleBatch, SampleBatch]:
        """Return the first ``count`` samples, and the rest."""
        head = replace(self, inputs=self.inputs[:count], labels=self.labels[:count])
        tail = replace(
            self,
            inputs=self.inputs[count:],
            labels=self.labels[count:],
            first=self.first + count,
            offset=self.offset + count,
        )
        return head, tail


@dataclass(frozen=True)
class QueryBatch:
    """Inputs to predict.

    Attributes
    ----------
    token
        Anything that the server needs to send the answer back.
    inputs
        (n, *shape), uint8 or float.
    received
        ``time.monotonic()`` at which the query came.
    deadline
        ``time.monotonic()`` after which an answer is useless.
    """

    token: Any
    inputs: NDArray[Any]
    received: float
    deadline: float = float("inf")


@dataclass(frozen=True)
class Command:
    """An operator's command.

    Attributes
    ----------
    name
        Name of the command.
    argument
        Name of a checkpoint, if the command takes one.
    reply
        Resolved between two sweeps, or when the disk is done.
    snapshot
        The checkpoint of a rollback, once it is read.
    """

    name: EngineCommand
    argument: str = ""
    reply: Future[dict[str, Any]] = field(default_factory=Future)
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class Work:
    """Work that the engine takes in one turn."""

    samples: list[SampleBatch]
    queries: list[QueryBatch]
    commands: list[Command]


class Inbox:
    """Three queues. Any thread may add commands; all else is put and taken by the thread that runs the loop.

    The caller checks for room before it adds samples, so that a full inbox stops credit and drops nothing.

    Parameters
    ----------
    query_rows, query_bytes
        Maximum number of waiting query rows, and of their bytes; ``put_query`` refuses more.
    wake
        Ends the loop's wait on the sockets; called when a command arrives, and callable from any thread.
    """

    def __init__(self, query_rows: int, query_bytes: int, wake: Callable[[], object] = lambda: None) -> None:
        self._query_limits = (query_rows, query_bytes)
        self.wake = wake
        self._samples: deque[SampleBatch] = deque()
        self._queries: deque[QueryBatch] = deque()
        self._commands: deque[Command] = deque()
        self.samples = 0
        self.sample_bytes = 0
        self.query_rows = 0
        self.query_bytes = 0

    def put_samples(self, batch: SampleBatch) -> None:
        """Add samples; the caller has checked that there is room."""
        self._samples.append(batch)
        self.samples += len(batch.labels)
        self.sample_bytes += batch.inputs.nbytes

    def put_query(self, query: QueryBatch) -> bool:
        """Add a query; return False if too many rows wait already."""
        rows, size = self.query_rows + len(query.inputs), self.query_bytes + query.inputs.nbytes
        if self._queries and (rows > self._query_limits[0] or size > self._query_limits[1]):
            return False
        self._queries.append(query)
        self.query_rows, self.query_bytes = rows, size
        return True

    def put_command(self, command: Command) -> None:
        """Add a command; callable from any thread."""
        self._commands.append(command)
        self.wake()

    @property
    def urgent(self) -> bool:
        """True if a query or a command waits."""
        return bool(self._queries or self._commands)

    def gather(self, samples: int, query_rows: int) -> Work:
        """Take waiting work.

        Parameters
        ----------
        samples
            Maximum number of samples to take; 0 leaves them where they are.
        query_rows
            Maximum number of query rows to take; a larger query is taken by itself.
        """
        # A command that arrives meanwhile waits for the next turn.
        commands = [self._commands.popleft() for _ in range(len(self._commands))]
        return Work(self.take(samples), self._take_queries(query_rows), commands)

    def front(self) -> SampleBatch | None:
        """Return the next batch in line without taking it."""
        return self._samples[0] if self._samples else None

    def line(self) -> list[SampleBatch]:
        """Return all batches in line without taking them."""
        return list(self._samples)

    def take(self, count: int) -> list[SampleBatch]:
        """Take ``count`` samples from the front, or all if there are fewer."""
        taken: list[SampleBatch] = []
        while count and self._samples:
            batch = self._samples.popleft()
            if len(batch.labels) > count:
                batch, rest = batch.split(count)
                self._samples.appendleft(rest)
            taken.append(batch)
            count -= len(batch.labels)
            self.samples -= len(batch.labels)
            self.sample_bytes -= batch.inputs.nbytes
        return taken

    def _take_queries(self, rows: int) -> list[QueryBatch]:
        taken: list[QueryBatch] = []
        while self._queries and (not taken or len(self._queries[0].inputs) <= rows):
            query = self._queries.popleft()
            taken.append(query)
            rows -= len(query.inputs)
            self.query_rows -= len(query.inputs)
            self.query_bytes -= query.inputs.nbytes
        return taken
