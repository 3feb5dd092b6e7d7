"""Subjects of deprivation: the daemon's learner in process, or a daemon over its sockets."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ffstream import Client
from ffstream.config import Config
from ffstream.errors import Unreachable
from ffstream.ff.lesson import Phase
from ffstream.stream.learner import NO_LABELS, Learner

QUERY_ROWS = 256
# Dreams per label in process; a daemon publishes its own.
DREAMS = 10
# Seconds between polls of a sleeping daemon, and longest wait for its scores.
POLL_S = 0.002
SCORE_S = 60.0

Answers = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Standing:
    """Progress of a subject since its birth.

    Attributes
    ----------
    awake_steps, sleep_steps
        Learning steps; sham steps count as sleep.
    samples, correct
        New samples learned, and number of them predicted right before they were learned.
    weight_norm, dead_units
        One value per layer: Frobenius norm of the weights, and number of units that no remembered row activates.
    goodness_dreamed
        Goodness of dreams under the label that each was dreamed under, mean over layers; ``None`` without dreams.
    """

    awake_steps: int
    sleep_steps: int
    samples: int
    correct: int
    weight_norm: list[float]
    dead_units: list[int]
    goodness_dreamed: float | None


class Subject(Protocol):
    """A network that learns a stream, sleeps, and obeys overrides."""

    def obey(self, command: str) -> None:
        """Set an override that allows waking: ``auto``, ``wake`` or ``sham``."""

    def learn(self, inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Learn a batch in one step, then sleep as scheduled."""

    def sleep(self, steps: int) -> None:
        """Only sleep for ``steps``, then hold until the next command.

        A daemon sleeps on its own until it is stopped, so it sleeps some more steps; ``look`` returns the exact number.
        """

    def look(self, inputs: NDArray[np.uint8]) -> tuple[Standing, Answers]:
        """Return progress, and goodness (n, layers, C) and probabilities (n, C) of images, without learning them."""

    def keep(self) -> None:
        """Save its state."""

    def go_back(self) -> None:
        """Restore the saved state, and let the schedule decide."""


class InProcess:
    """The daemon's learner, driven step by step.

    Parameters
    ----------
    config
        Full configuration.
    """

    def __init__(self, config: Config) -> None:
        self.learner = Learner(config)
        self.learner.compile()
        self._kept = self.learner.snapshot()

    def obey(self, command: str) -> None:
        self.learner.scheduler.obey(command)
        self._sleep_as_scheduled()

    def learn(self, inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.learner.step([inputs], labels, [])
        self._sleep_as_scheduled()

    def sleep(self, steps: int) -> None:
        self.learner.scheduler.obey("sleep")
        for _ in range(steps):
            self.learner.advance(quiet=False)
            self.learner.step([], NO_LABELS, [])

    def look(self, inputs: NDArray[np.uint8]) -> tuple[Standing, Answers]:
        return self._standing(), self._answer(inputs)

    def keep(self) -> None:
        self._kept = self.learner.snapshot()

    def go_back(self) -> None:
        self.learner.restore(self._kept)

    def _standing(self) -> Standing:
        learner = self.learner
        return Standing(
            awake_steps=learner.phase_steps[Phase.WAKE] + learner.phase_steps[Phase.TOGETHER],
            sleep_steps=learner.phase_steps[Phase.SLEEP],
            samples=learner.samples_learned,
            correct=learner.prequential.correct,
            weight_norm=learner.weight_norms(),
            dead_units=learner.dead_units(),
            goodness_dreamed=self._goodness_dreamed(),
        )

    def _goodness_dreamed(self) -> float | None:
        dreams = self.learner.network.dreams
        if dreams is None or not dreams.ripe:
            return None
        labels = np.repeat(np.array(dreams.known()), DREAMS)
        _, scores = self.learner.dream(labels)
        return float(scores.goodness.mean(1)[torch.arange(len(labels)), torch.from_numpy(labels)].mean())

    def _answer(self, inputs: NDArray[np.uint8]) -> Answers:
        parts = [inputs[start : start + QUERY_ROWS] for start in range(0, len(inputs), QUERY_ROWS)]
        found = [self.learner.answer([part]).scores for part in parts]
        return (
            np.concatenate([scores.goodness.float().cpu().numpy() for scores in found]),
            np.concatenate([scores.probabilities().float().cpu().numpy() for scores in found]),
        )

    def _sleep_as_scheduled(self) -> None:
        self.learner.advance(quiet=False)
        while self.learner.asleep:
            self.learner.step([], NO_LABELS, [])
            self.learner.advance(quiet=False)


class Live:
    """A running daemon: fed over its sockets, observed through queries and events, controlled by commands.

    Parameters
    ----------
    client
        Client of a daemon that nobody else feeds or commands, with ``learned`` acknowledgements.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._checkpoint = ""
        self._sleeping = False

    def obey(self, command: str) -> None:
        self._sleeping = False
        self._client.control(command)
        self._stand_still()
        self._client.control("resume")

    def learn(self, inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._client.feed(inputs, labels)
        self._client.flush()

    def sleep(self, steps: int) -> None:
        self._sleeping = True
        enough = self._client.control("sleep")["sleep_steps"] + steps
        self._client.control("resume")
        while self._client.status()["sleep_steps"] < enough:
            time.sleep(POLL_S)
        self._client.control("hold")

    def look(self, inputs: NDArray[np.uint8]) -> tuple[Standing, Answers]:
        self._stand_still()
        parts = [inputs[start : start + QUERY_ROWS] for start in range(0, len(inputs), QUERY_ROWS)]
        heard: dict[str, list[Mapping[str, Any]]] = {"score": [], "dream": []}
        with self._client.events(*heard, timeout_s=POLL_S) as events:
            found, give_up = [self._client.predict(part) for part in parts], time.monotonic() + SCORE_S
            # Learning is held, so all events now describe these weights. Scores go out when the daemon's loop turns,
            # and a query makes it turn. A dream follows each score, of one label after the other: once a label repeats,
            # or a second score comes without a dream, none is missing.
            while len(heard["score"]) < 2 or not _comes_again(heard["dream"]):
                for event in events:
                    heard[event.topic].append(event.fields)
                self._client.predict(inputs[:1])
                if time.monotonic() > give_up:
                    raise Unreachable("the daemon publishes no scores, or too few dreams; see engine.report_ms")
        standing = _standing(self._client.status(), heard["score"][-1], heard["dream"])
        if not self._sleeping:
            self._client.control("resume")
        goodness, probabilities = ([getattr(one, name) for one in found] for name in ("goodness", "probabilities"))
        return standing, (np.concatenate(goodness), np.concatenate(probabilities))

    def keep(self) -> None:
        self._stand_still()
        self._checkpoint = f"deprivation-{uuid.uuid4().hex[:12]}"
        self._client.control("checkpoint", checkpoint=self._checkpoint)
        self._client.control("resume")

    def go_back(self) -> None:
        self._client.control("hold")
        self._client.control("auto")
        self._client.control("rollback", checkpoint=self._checkpoint)
        self._client.control("resume")
        self._sleeping = False

    def _stand_still(self) -> None:
        """Hold learning, but not during a due nap."""
        while self._client.control("hold")["phase"] == Phase.SLEEP and not self._sleeping:
            self._client.control("resume")
            time.sleep(POLL_S)


def _comes_again(dreams: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if a label repeats, or there are no dreams at all."""
    return not dreams or len({dream["label"] for dream in dreams}) < len(dreams)


def _standing(status: Mapping[str, Any], score: Mapping[str, Any], dreams: Sequence[Mapping[str, Any]]) -> Standing:
    samples, prequential = status["samples_learned"], status["prequential"]
    dreamed = {dream["label"]: dream["goodness"] for dream in dreams}
    return Standing(
        awake_steps=status["wake_steps"] + status["together_steps"],
        sleep_steps=status["sleep_steps"],
        samples=samples,
        correct=0 if math.isnan(prequential) else round(prequential * samples),
        weight_norm=score["weight_norm"],
        dead_units=score["dead_units"],
        goodness_dreamed=float(np.mean([*dreamed.values()])) if dreamed else None,
    )
