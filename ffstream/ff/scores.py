"""Scores of a sweep, and the prediction of labels from them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ffstream.config.network import Prediction
from ffstream.ff.flow import Passed
from ffstream.ff.lesson import beside_copies, without_copies


@dataclass(frozen=True)
class Scores:
    """Scores of a sweep, from the weights that each layer had before its own update.

    Attributes
    ----------
    evidence
        (n, C): evidence for each label under the network's prediction rule; -inf for labels that it rules out.
    total
        (n, C): goodness of every label, summed over layers; (n, 1) under coding ``none``. NaN if not computed.
    goodness
        (n - m, layers, C): goodness of the query rows in each layer.
    shown, real
        (m, layers, t): goodness that the lesson moved, first of the true label if it rises, then of the negative if it
        falls; and the probability that each layer calls it real.
    """

    evidence: Tensor
    total: Tensor
    goodness: Tensor
    shown: Tensor
    real: Tensor

    def of_first(self, n: int) -> Scores:
        """Return the scores of the first n rows, including the lesson's, without the rows that padded the sweep."""
        filled = len(self.evidence) - n
        if not filled:
            return self
        goodness = self.goodness[: len(self.goodness) - filled]
        return replace(self, evidence=self.evidence[:n], total=self.total[:n], goodness=goodness)

    def probabilities(self) -> Tensor:
        """Return the probability of each label, softmax of the evidence; (n, C)."""
        return self.evidence.softmax(-1)

    def labels(self) -> Tensor:
        """Return the label with the most evidence; (n,) int64."""
        return self.evidence.argmax(-1)


@dataclass
class Findings:
    """Results of a sweep's spans, collected one after another.

    Of learned rows it keeps sums over layers, so that it hardly grows with the number of layers.

    Attributes
    ----------
    m, taught
        Number of the lesson's rows, without and with their corrupted copies.
    goodness
        (queries, layers, C) of each span of layers.
    shown, real
        (rows, layers, t) of each span, see ``Scores``.
    activities
        Inputs of the read-out: (rows, size) of each layer that it reads.
    """

    m: int
    taught: int
    goodness: list[Tensor] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    real: list[Tensor] = field(default_factory=list)
    activities: list[Tensor] = field(default_factory=list)
    # Goodness of all rows: in the first and in the last span, (rows, layers, C), and summed over all layers, (rows, C).
    _first: Tensor = field(init=False)
    _last: Tensor = field(init=False)
    _total: Tensor = field(init=False)

    def add(self, passed: Passed) -> None:
        """Keep the results of the next span."""
        if not self.goodness:
            self._first = passed.goodness
        self._last, self._total = passed.goodness, passed.believed
        # A view would keep the goodness of every row in memory.
        self.goodness.append(passed.goodness[self.taught :].clone())
        self.shown.append(passed.shown)
        self.real.append(passed.real)
        self.activities += passed.activities

    def scores(self, rule: Prediction, logits: Tensor | None, shortlist: int) -> Scores:
        """Return the scores under a prediction rule; ``logits`` (rows, C) are those of a read-out."""
        m, taught = self.m, self.taught
        goodness, shown, real = (_join(found) for found in (self.goodness, self.shown, self.real))
        evidence = without_copies(self._weigh(rule, logits, goodness.shape[1], shortlist), m, taught)
        shown, real = beside_copies(shown, m, taught), beside_copies(real, m, taught)
        return Scores(evidence, without_copies(self._total, m, taught), goodness, shown, real)

    def _weigh(self, rule: Prediction, logits: Tensor | None, layers: int, shortlist: int) -> Tensor:
        """Return the evidence of all rows, (rows, C).

        Goodness counts as its mean over layers, not its sum: all layers see the same row, so a sum counts the same
        evidence several times. On MNIST after one pass, the mean is calibrated within 1 point, the sum within 3.
        """
        if rule == "upper_goodness":
            return (self._total - self._first[:, 0]) / (layers - 1)
        if rule == "top_goodness":
            return self._last[:, -1]
        mean = self._total / layers
        if logits is None or rule == "goodness":
            return mean
        if rule == "readout":
            return logits
        if mean.shape[1] < logits.shape[1]:
            # Rows that were learned unscored have the goodness of few labels only, so nothing can be listed.
            return mean
        listed = torch.zeros_like(logits, dtype=torch.bool).scatter(1, listed_first(logits, shortlist), value=True)
        return mean.masked_fill(~listed, -torch.inf)


def _join(spans: list[Tensor]) -> Tensor:
    return spans[0] if len(spans) == 1 else torch.cat(spans, 1)


def listed_first(logits: Tensor, shortlist: int) -> Tensor:
    """Return the labels that a read-out ranks first; (n, min(shortlist, labels)) int64."""
    return logits.topk(min(shortlist, logits.shape[1]), 1).indices
