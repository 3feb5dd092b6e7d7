"""A linear softmax read-out on the normalized activities (the paper, section 3.2).

It learns by its own delta rule, in the same sweep as the layers; its gradient reaches none of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.ff.criteria import soften
from ffstream.ff.gradients import Factors
from ffstream.ff.optim import Adam
from ffstream.ff.rounding import Nearest

# Decay of Adam's first and second moment (Kingma & Ba 2015).
BETAS = (0.9, 0.999)


class Readout:
    """Predicts labels from activities: ``softmax(W z + b)``, learned by Adam.

    The plain delta rule follows the few directions that all activities share, and leaves the fine ones, which tell
    labels apart, to later passes; Adam moves all weights equally far.

    Parameters
    ----------
    labels
        Number of labels C.
    activities
        Number of activities per row, f.
    rate
        Adam's step size times the number of activities: a step moves the logits equally far at any network width.
    smoothing
        Amount by which the target probability falls short of 1, see ``ffstream.ff.criteria.soften``.

    Attributes
    ----------
    weight
        (C, f + 1): the last column is the bias, as if an additional activity were always 1.
    """

    def __init__(self, labels: int, activities: int, rate: float, device: torch.device, smoothing: float = 0.0) -> None:
        self.weight = torch.zeros(labels, activities + 1, device=device)
        self._activities = activities
        self._targets = soften(torch.eye(labels, device=device), smoothing, labels)
        self._rule = Adam(Nearest(self.weight), rate / activities, BETAS)

    def anneal(self, rate: float) -> None:
        """Set the step size, in the same unit as ``rate`` at the start."""
        self._rule.rate = rate / self._activities

    def read(self, activities: Tensor) -> Tensor:
        """Turn activities (n, f) into logits (n, C)."""
        return torch.addmm(self.weight[:, -1], activities.float(), self.weight[:, :-1].T)

    def learn(self, activities: Tensor, logits: Tensor, labels: Tensor, share: Tensor) -> None:
        """Learn from activities (m, f) and the logits read from them; without any label, no weight moves.

        Parameters
        ----------
        labels
            (m,) int64, -1 for none.
        share
            (m, 1): weight of each row in learning.
        """
        told = labels >= 0
        # A gradient of zero would still move the weights through Adam's momentum.
        if not told.any():
            return
        error = (logits.softmax(1) - self._targets[labels.clamp(min=0)]) * share * told.unsqueeze(1)
        self._rule.apply(Factors(error, functional.pad(activities.float(), (0, 1), value=1.0)))

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that a checkpoint must hold, by name; writing into them restores the read-out."""
        return {"weight": self.weight, **self._rule.state()}
