"""Negatives: what sleep lowers the goodness of.

Every draw is made with a generator that the caller passes, so that a replay repeats it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Draw = Literal["belief", "uniform"]


def wrong_labels(logits: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Draw for each row a label that is not its own, from the softmax of logits over the others.

    Logits that are the mean goodness of the layers so far show the network what it is most likely to mistake (the
    paper, section 3.3, "hard negatives"); logits of zero draw each wrong label alike.

    Parameters
    ----------
    logits
        (n, C).
    labels
        (n, 1) int64: the labels not to be drawn.
    noise
        (n, C), exponentially distributed. Less its logarithm, which is Gumbel noise, the largest logit is a draw from
        the softmax, without a host round trip.

    Returns
    -------
    Tensor
        (n, 1) int64.
    """
    return (logits - noise.log()).scatter(1, labels, -torch.inf).argmax(1, keepdim=True)


def corrupt(kind: str, rows: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Placeholder until merged."""
    return rows[:, torch.randperm(rows.shape[1], generator=generator)]
