"""Goodness: how real a layer finds what it sees (Hinton 2022, arXiv 2212.13345, section 2).

A layer's goodness is its temperature times the mean of its squared activities. The layer calls a row real
with probability ``sigmoid(goodness - threshold)``. Between layers a row is divided by its root mean square,
so that a layer cannot read the goodness of the layer below off the length of its output.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Far below the mean square of the faintest sensible row, so that only a row of zeros is left as it is.
EPSILON = 1e-20


def normalise(rows: Tensor) -> Tensor:
    """Divide each row by its root mean square; (..., width) -> (..., width), mean square 1.

    The paper divides by the length. The two differ by the constant ``sqrt(width)``, which keeps the inputs of a
    wide layer at unit scale. A row of zeros stays a row of zeros.
    """
    return functional.rms_norm(rows, rows.shape[-1:], eps=EPSILON)


def probability_of_real(goodness: Tensor, threshold: float) -> Tensor:
    """Return the probability that the layer calls a row real, ``sigmoid(goodness - threshold)``; any shape."""
    return torch.sigmoid(goodness - threshold)
