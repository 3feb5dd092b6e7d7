"""Periodic reports on the learner: its scores, the state of its layers, and a dream."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ffstream.stream.learner import Learner
from ffstream.stream.outbox import Dreamed, Report
from ffstream.wire import UNLABELLED

# Seconds between counts of dead units: a count takes longer than a sweep, and queries wait meanwhile.
COUNT_S = 1.0


class Reporter:
    """Inspects a learner between two steps, without changing what it learns.

    Parameters
    ----------
    learner
        The learner to inspect.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._dead = [0] * len(learner.network.layers)
        self._counted_at = float("-inf")
        self._dreamed = 0

    def report(self, now: float, unsaved_s: float = 0.0) -> Iterator[Report | Dreamed]:
        """Yield a report on the learner at a time (seconds), and a dream if there are dreams."""
        if now - self._counted_at >= COUNT_S:
            self._counted_at = now
            self._dead = self.learner.dead_units()
        yield self._scores(unsaved_s)
        if (dreamed := self._dream()) is not None:
            yield dreamed

    def _scores(self, unsaved_s: float) -> Report:
        learner, scheduler = self.learner, self.learner.scheduler
        learner.feel_pressure()
        learner.prequential.read()
        return Report(
            learner.version,
            learner.backend,
            scheduler.phase,
            scheduler.override,
            scheduler.holding,
            learner.pressure,
            scheduler.debt,
            learner.samples_learned,
            learner.prequential.total,
            learner.prequential.windowed,
            learner.sign_scores(),
            weight_norm=learner.weight_norms(),
            dead_units=self._dead,
            unsaved_s=unsaved_s,
        )

    def _dream(self) -> Dreamed | None:
        """Dream once, taking the labels that were seen in turn; ``None`` if there are no dreams yet."""
        learner, dreams = self.learner, self.learner.network.dreams
        if dreams is None or not dreams.ripe:
            return None
        known = dreams.known()
        label = known[self._dreamed % len(known)]
        self._dreamed += 1
        images, scores = learner.dream(np.array([label]))
        return Dreamed(
            learner.version,
            UNLABELLED if learner.config.network.coding == "none" else label,
            int(scores.labels()[0]),
            scores.goodness[0, :, label].tolist(),
            images[0].reshape(learner.config.network.shape),
        )
