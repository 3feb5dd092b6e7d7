"""Negatives: what sleep lowers the goodness of.

Every draw is made with a generator that the caller passes, so that a replay repeats it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Draw = Literal["belief", "uniform"]


def wrong_labels(goodness: Tensor, labels: Tensor, draw: Draw, generator: torch.Generator) -> Tensor:
    """Draw for each row a label that is not its own.

    Parameters
    ----------
    goodness
        (m, C): goodness that the network gives each label.
    labels
        (m,) int64: the labels not to be drawn.
    draw
        ``belief`` draws from the softmax of goodness over the wrong labels, so the network is shown what it is
        most likely to mistake (the paper, section 3.3, "hard negatives"); ``uniform`` draws each alike.
    generator
        Source of randomness, on the device of ``goodness``.

    Returns
    -------
    Tensor
        (m,) int64.
    """
    logits = goodness if draw == "belief" else torch.zeros_like(goodness)
    # Adding Gumbel noise and taking the largest draws from the softmax without a host round trip.
    noise = torch.empty_like(logits).exponential_(generator=generator).log_()
    return (logits - noise).scatter_(1, labels.unsqueeze(1), -torch.inf).argmax(1)
