"""A linear softmax read-out on the normalised activities (the paper, section 3.2).

It learns by its own delta rule, in the sweep in which the layers learn: no gradient of it reaches any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


class Readout:
    """Labels from activities: ``softmax(sum_l W_l z_l + b)``.

    The step is that of normalised least mean squares: divided by the number of activities, so that a sample moves the
    logits of its like as far, whatever the network's width.

    Parameters
    ----------
    labels
        Number of labels C.
    sizes
        Activities (of each layer that is read).
    rate
        Step size.
    """

    def __init__(self, labels: int, sizes: Sequence[int], rate: float, device: torch.device) -> None:
        self.weights = [torch.zeros(labels, size, device=device) for size in sizes]
        self.bias = torch.zeros(labels, device=device)
        self.rate = rate
        self._activities = sum(sizes) + 1

    def read(self, activities: Sequence[Tensor]) -> Tensor:
        """Turn activities (n, size), one tensor a layer that is read, into logits (n, C)."""
        logits = self.bias.expand(len(activities[0]), -1)
        for weight, z in zip(self.weights, activities, strict=True):
            logits = logits + z.float() @ weight.T
        return logits

    def learn(self, activities: Sequence[Tensor], logits: Tensor, labels: Tensor, share: Tensor) -> None:
        """Learn rows of activities, and the logits that were read off them.

        Parameters
        ----------
        labels
            (m,) int64, -1 where there is none.
        share
            (m, 1): how much each row teaches.
        """
        target = functional.one_hot(labels.clamp(min=0), logits.shape[1])
        error = (logits.softmax(1) - target) * share * (labels >= 0).unsqueeze(1)
        step = -self.rate / self._activities
        for weight, z in zip(self.weights, activities, strict=True):
            weight.addmm_(error.T, z.float(), alpha=step)
        self.bias.add_(error.sum(0), alpha=step)

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that a checkpoint must hold, by name."""
        return {"bias": self.bias, **{f"{i}.weight": weight for i, weight in enumerate(self.weights)}}
