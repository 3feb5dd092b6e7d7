"""A client for a running daemon; needs numpy, pyzmq and msgpack, but not torch."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import zmq
from numpy.typing import ArrayLike, NDArray

from ffstream import ports, wire
from ffstream.client.connecting import connected
from ffstream.client.feeding import Feeding
from ffstream.client.requests import Requests
from ffstream.client.subscription import Event, Subscription
from ffstream.errors import Unreachable
from ffstream.wire import Array

__all__ = ["Client", "Event", "Prediction", "Subscription"]


@dataclass(frozen=True)
class Prediction:
    """The answer to a query of n rows, all scored in one sweep.

    Attributes
    ----------
    labels
        (n,) int64: the most probable label.
    probabilities
        (n, C) float32: probability of each label, rows summing to 1.
    goodness
        (n, layers, C) float32: goodness of each label in each layer.
    version
        Learning steps behind the weights that answered.
    phase
        ``wake``, ``sleep`` or ``together``: the network's phase at that time.
    catching_up
        True if the daemon was replaying its journal after a crash, so that the weights were not up to date.
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    goodness: NDArray[np.float32]
    version: int
    phase: str
    catching_up: bool = False


class Client:
    """Feeds, queries, watches and controls a daemon. Not thread-safe; create one client per thread.

    Parameters
    ----------
    address
        ``HOST:PORT`` or ``[IPV6]:PORT``, the first of the daemon's six ports; the port defaults to 5700.
    feeder
        Name under which the daemon remembers this feeder's progress; unique by default.
    epoch
        Life of the feeder. Samples are numbered from 0 within it; by default each client starts a new one.
    ack
        Promise of an acknowledgement. ``durable``: the sample is on the daemon's disk and will be learned once,
        whatever crashes. ``learned``: the sample is also learned. ``received``: the daemon has it in memory.
    timeout_s
        Seconds without an answer after which the daemon counts as unreachable.
    hold
        Number of samples that ``feed`` collects before it sends them together; ``flush`` sends any remainder. One by
        one, a client sends a few thousand samples a second; collected 256 at a time, ten times as many.

    Raises
    ------
    ValueError
        If the address cannot be parsed, or if any method but ``close`` is called on a closed client.

    Examples
    --------
    >>> with Client() as client:                                        # doctest: +SKIP
    ...     client.feed(images, labels)
    ...     client.predict(images[:1]).labels
    """

    def __init__(
        self,
        address: str = ports.ADDRESS,
        *,
        feeder: str | None = None,
        epoch: int | None = None,
        ack: Literal["received", "durable", "learned"] = "durable",
        timeout_s: float = 10.0,
        hold: int = 1,
    ) -> None:
        self._host, self._port = ports.split(address)
        self._timeout_s = timeout_s
        self._feeder = feeder or uuid.uuid4().hex
        self._epoch = time.time_ns() if epoch is None else epoch
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._queries = Requests(self._context, self._address(ports.QUERIES), timeout_s)
        self._control = Requests(self._context, self._address(ports.CONTROL), timeout_s)
        self._ack = ack
        self._feeding: Feeding | None = None
        self._hold = hold
        self._held: list[tuple[Array, Array]] = []
        self._held_samples = 0
        self._push: zmq.Socket[bytes] | None = None

    def feed(self, inputs: ArrayLike, labels: ArrayLike | None = None) -> None:
        """Send samples that will be acknowledged.

        Returns once the daemon's credit has allowed the last sample to be sent, so a full daemon slows the caller
        down; ``flush`` waits for the acknowledgements. Unacknowledged samples are kept, and sent again if the
        daemon restarts.

        Parameters
        ----------
        inputs
            (n, *shape): uint8 (0 … 255, read as 0 … 1) or floats; one sample is a batch of one.
        labels
            (n,) integers from 0, or -1 for a sample without a label; None if no sample has one. Only a network
            whose coding is ``none`` learns from unlabeled samples.

        Raises
        ------
        ValueError
            If the labels are not one integer per sample.
        Refused
            If the daemon refused these or earlier samples; the error names the field at fault.
        Unreachable
            If the daemon does not answer.
        """
        rows, targets = _samples(inputs, labels)
        if self._hold > 1:
            if self._held and (rows.dtype, rows.shape[1:]) != (self._held[0][0].dtype, self._held[0][0].shape[1:]):
                self._send_held()
            self._held.append((rows.copy(), targets))
            self._held_samples += len(targets)
            if self._held_samples >= self._hold:
                self._send_held()
        else:
            self._line().feed(rows, targets)

    def flush(self) -> None:
        """Wait until every sample fed is acknowledged; raises as ``feed`` does."""
        self._send_held()
        if self._feeding is not None:
            self._line().flush()

    @property
    def acknowledged(self) -> int:
        """Number of samples acknowledged so far, as of the last ``feed`` or ``flush``."""
        return 0 if self._feeding is None else self._feeding.acknowledged

    def push(self, inputs: ArrayLike, labels: ArrayLike | None = None) -> None:
        """Send samples unacknowledged; the daemon drops and counts those it cannot take. Arguments as for ``feed``.

        Raises
        ------
        Unreachable
            If no daemon has taken the samples pushed before, and the send queue is full.
        """
        if self._push is None or self._context.closed:
            self._push = connected(self._context, zmq.PUSH, self._address(ports.PUSH))
            self._push.set(zmq.SNDTIMEO, round(self._timeout_s * 1e3))
        rows, targets = _samples(inputs, labels)
        tensors = {"inputs": rows, "labels": targets}
        try:
            self._push.send_multipart(wire.encode("samples", {"count": len(targets)}, tensors))
        except zmq.Again as error:
            raise Unreachable(
                f"nobody takes the samples pushed to {self._address(ports.PUSH)}; does `ffstream serve` run there?"
            ) from error

    def predict(self, inputs: ArrayLike, *, deadline_ms: float | None = None) -> Prediction:
        """Query predictions; never trains.

        Parameters
        ----------
        inputs
            (n, *shape): uint8 or floats. The rows are answered together, from one model version.
        deadline_ms
            Milliseconds after the query's arrival at which the daemon refuses it with code ``deadline``.

        Raises
        ------
        Refused
            If the daemon refused the query; the error names the field at fault.
        Unreachable
            If no answer came, even after resending the query.
        """
        fields = {} if deadline_ms is None else {"deadline_ms": deadline_ms}
        answer = self._queries.ask("query", fields, {"inputs": _inputs(inputs)})
        tensors = answer.tensors
        return Prediction(
            tensors["labels"],
            tensors["probabilities"],
            tensors["goodness"],
            answer.integer("version"),
            answer.text("phase"),
            answer.fields.get("catching_up") is True,
        )

    def events(self, *topics: str, after: int | None = None, timeout_s: float | None = None) -> Subscription:
        """Subscribe to events of some topics: ``phase``, ``score``, ``prediction``, ``checkpoint``, ``rollback``.

        Parameters
        ----------
        topics
            Topics to subscribe to.
        after
            Start with the stored events numbered above it (0: all stored events); None starts with the next event.
        timeout_s
            Seconds without an event after which the iteration ends; None waits forever.
        """
        return Subscription(self._context, self._address(ports.EVENTS), topics, after, timeout_s)

    def status(self) -> dict[str, Any]:
        """Return the daemon's status: version, phase, steps, samples learned and waiting, network, device."""
        return self.control("status")

    def control(self, name: str, *, checkpoint: str | None = None) -> dict[str, Any]:
        """Send a command and return the daemon's status after it.

        ``sleep`` and ``wake`` override the schedule, ``auto`` returns to it; under ``sham`` the schedule continues but
        sleep changes nothing; ``hold`` and ``resume`` stop and restart learning; ``checkpoints`` lists the checkpoints,
        newest first, under the key of that name; ``checkpoint`` saves, under the given name if there is one, and
        returns when the checkpoint is on disk; ``rollback`` goes back to a checkpoint, ``pin`` keeps one permanently,
        ``unpin`` undoes that; ``shutdown`` stops the daemon.

        Parameters
        ----------
        name
            The command.
        checkpoint
            Name of the checkpoint that the command concerns.

        Raises
        ------
        Refused, Unreachable
            As for ``predict``.
        """
        fields = {"name": name} if checkpoint is None else {"name": name, "checkpoint": checkpoint}
        # If resent, the name would be taken, and a rollback would undo what was learned since the first one.
        reply = self._control.ask("command", fields, once=checkpoint is not None)
        return {key: value for key, value in reply.fields.items() if key != "id"}

    def close(self) -> None:
        """Close all connections; may be called twice. Unacknowledged samples are lost, so call ``flush`` first."""
        if self._context.closed:
            return
        self._queries.close()
        self._control.close()
        if self._feeding is not None:
            self._feeding.close()
        if self._push is not None:
            self._push.close(linger=1000)
        self._context.destroy(linger=1000)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and not self._context.closed:
                self.flush()
        finally:
            self.close()

    def _send_held(self) -> None:
        if self._held:
            # Held samples stay held until a daemon answers.
            self._line().greet()
            rows, targets = zip(*self._held, strict=True)
            self._held, self._held_samples = [], 0
            self._line().feed(np.concatenate(rows), np.concatenate(targets))

    def _address(self, offset: int) -> str:
        return ports.join(self._host, self._port + offset)

    def _line(self) -> Feeding:
        # With a closed context, connecting fails with a clear error.
        if self._feeding is None or self._context.closed:
            address = self._address(ports.SAMPLES)
            self._feeding = Feeding(self._context, address, self._feeder, self._epoch, self._ack, self._timeout_s)
        return self._feeding


def _inputs(inputs: ArrayLike) -> Array:
    array = np.asarray(inputs)
    return array if array.dtype.name in wire.INPUT_DTYPES else array.astype(np.float32)


def _samples(inputs: ArrayLike, labels: ArrayLike | None) -> tuple[Array, Array]:
    rows = _inputs(inputs)
    targets = np.full(rows.shape[:1], wire.UNLABELLED) if labels is None else np.asarray(labels)
    if targets.dtype.kind not in "iu":
        raise ValueError(f"expected integer labels, got {targets.dtype}")
    if rows.ndim == 0 or targets.shape != rows.shape[:1]:
        raise ValueError(f"expected one label per sample: inputs are {rows.shape}, labels {targets.shape}")
    return rows, targets.astype(np.int64)
