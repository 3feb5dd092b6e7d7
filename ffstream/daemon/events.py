"""Numbered events with a bounded replay; pure, no sockets."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from ffstream import wire
from ffstream.stream.outbox import Changed, Report, Swept
from ffstream.wire import Frames

TOPICS = ("phase", "score", "prediction", "dream", "checkpoint", "rollback", "recovery", "quarantine")
REPLAY = b"replay/"
_REPLAY = re.compile(REPLAY + rb"([a-z]+)/([0-9]{1,18})/[^/]{1,64}")


class EventLog:
    """The latest events of each topic.

    Parameters
    ----------
    keep
        Number of events per topic kept for late subscribers.
    """

    def __init__(self, keep: int) -> None:
        self._numbers = dict.fromkeys(TOPICS, 0)
        self._kept: dict[str, deque[tuple[int, dict[str, Any]]]] = {topic: deque(maxlen=keep) for topic in TOPICS}

    def add(self, topic: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Number an event, store it, and return it; each topic's numbers start at 1 and have no gaps."""
        self._numbers[topic] += 1
        number = self._numbers[topic]
        event = {"topic": topic, "number": number, "time": time.time(), **fields}
        self._kept[topic].append((number, event))
        return event

    def replay(self, subscription: bytes) -> list[Frames]:
        """Answer a subscription to ``replay/TOPIC/AFTER/UNIQUE`` with the kept events numbered above AFTER.

        Each event is sent under the subscribed topic, which is unique to this subscriber. A final ``replayed`` message
        carries the number of the latest event. A subscription of any other form gets nothing.
        """
        asked = _REPLAY.fullmatch(subscription)
        if asked is None or (topic := asked[1].decode()) not in self._kept:
            return []
        frames = [frames_of(event, subscription) for number, event in self._kept[topic] if number > int(asked[2])]
        end = {"topic": topic, "number": self._numbers[topic]}
        return [*frames, [subscription, *wire.encode("replayed", end)]]


def frames_of(event: Mapping[str, Any], topic: bytes) -> Frames:
    """Encode an event for the subscribers of ``topic``; done only on sending, because most events have no subscriber.

    An ``image`` becomes a tensor of the message; other arrays and device tensors become plain values in the header.
    """
    tensors = {key: value for key, value in event.items() if key == "image"}
    plain = {
        key: value.tolist() if hasattr(value, "tolist") else value for key, value in event.items() if key not in tensors
    }
    return [topic, *wire.encode("event", plain, tensors)]


def prediction_fields(swept: Swept) -> dict[str, Any]:
    """Return the fields of a ``prediction`` event: labels served for samples before learning, and for queries."""
    step = swept.step
    return {
        "version": step.version,
        "phase": step.phase.value,
        "labels": step.labels,
        "predicted": step.predicted,
        "answered": np.concatenate([np.empty(0, np.int64), *(answer.labels for answer in swept.answers)]),
    }


def phase_fields(changed: Changed) -> dict[str, Any]:
    """Return the fields of a ``phase`` event."""
    change = changed.change
    return {
        "version": changed.version,
        "phase": change.phase.value,
        "previous": change.previous.value,
        "reason": change.reason,
        "pressure": changed.pressure,
        "debt": changed.debt,
    }


def score_fields(report: Report, sweeps: deque[float], latencies: deque[float]) -> dict[str, Any]:
    """Return the fields of a ``score`` event; ``sweeps`` and ``latencies`` are recent durations in seconds."""
    return {
        "version": report.version,
        "phase": report.phase.value,
        "override": report.override.value,
        "holding": report.holding,
        "pressure": report.pressure,
        "debt": report.debt,
        "samples_learned": report.samples_learned,
        "prequential": report.prequential,
        "prequential_window": report.prequential_window,
        "goodness": {sign: scores.goodness for sign, scores in report.signs.items()},
        "probability_of_real": {sign: scores.probability_of_real for sign, scores in report.signs.items()},
        "weight_norm": report.weight_norm,
        "dead_units": report.dead_units,
        "sweep_ms": _quantiles_ms(sweeps),
        "query_ms": _quantiles_ms(latencies),
    }


def _quantiles_ms(seconds: deque[float]) -> list[float]:
    """Return the median and the 99th percentile in milliseconds, or nothing if nothing was measured."""
    return [float(value) * 1e3 for value in np.quantile(seconds, (0.5, 0.99))] if seconds else []
