"""Long phases: each step of a phase also repeats the mean change that the other phase makes to the weights.

Wake only raises goodness, sleep only lowers it. If each step learns both, their pulls cancel except for what tells real
data from negatives. If each phase lasts a thousand steps, the weights follow one pull until the other takes over, and
what was learned is lost on the way (arXiv 2310.18647). Therefore each step of a phase also makes the mean move of the
other phase, so that the other sign is always present, as it was when that phase last ran. This is the remembered
gradient of stochastic average gradient (Le Roux et al. 2012, arXiv 1202.6258) for a sum of two losses, one per phase::

    W += move of this step  +  mean move of the other phase, when it last ran

This needs no running sum. In a phase of K steps the weights go from W0 to W1 = W0 + K (own + other), where ``own`` is
the mean move to find and ``other`` the remembered one; so ``own = (W1 - W0) / K - other``. The move of a few steps is
mostly noise, so short phases are averaged until they add up to about ``STEADY`` steps.

The longer the phases, the smaller the steps, because a remembered move is valid only while the weights stay near the
point where it was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ffstream.ff.lesson import Phase
from ffstream.ff.rounding import Adder

# Length of a phase, in steps, beyond which step sizes shrink.
BRIEF = 40
# Minimum number of steps over which the move of a phase is averaged.
STEADY = 100
_PHASES = (Phase.WAKE, Phase.SLEEP)


class Counter:
    """Makes, in each phase, the mean move of the other one.

    Parameters
    ----------
    weights
        Adders of every learned matrix of the network.
    """

    def __init__(self, weights: Sequence[Adder]) -> None:
        self._weights = weights
        self._start = [adder.exact.clone() for adder in weights]
        self._moves = {phase: [torch.zeros_like(start) for start in self._start] for phase in _PHASES}
        # The current phase (1 or 2; 0 for none), its steps so far, and the steps of the last run of each phase.
        self._counts = torch.zeros(4, dtype=torch.int64)

    @property
    def share(self) -> float:
        """Share of the configured step size to take: ``sqrt(BRIEF / K)`` if phases last K > ``BRIEF`` steps."""
        longest = max(int(steps) for steps in self._counts[1:])
        return min(1.0, math.sqrt(BRIEF / max(longest, 1)))

    def step(self, phase: Phase) -> None:
        """Count a step of a phase and make the other phase's move; a step of both phases makes and remembers none."""
        number = 0 if phase is Phase.TOGETHER else 1 + _PHASES.index(phase)
        if number != self._counts[0]:
            self._remember()
            self._counts[0], self._counts[1] = number, 0
            for start, adder in zip(self._start, self._weights, strict=True):
                start.copy_(adder.exact)
        self._counts[1] += 1
        if number:
            for adder, move in zip(self._weights, self._moves[_PHASES[2 - number]], strict=True):
                adder.add_formed(move, 1.0)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint must hold, by name."""
        moves = {f"{phase}.{i}": move for phase in _PHASES for i, move in enumerate(self._moves[phase])}
        return {"counts": self._counts, **moves, **{f"start.{i}": start for i, start in enumerate(self._start)}}

    def _remember(self) -> None:
        """Update the mean move of the phase that ends."""
        number, steps = int(self._counts[0]), int(self._counts[1])
        if not number or not steps:
            return
        self._counts[1 + number] = steps
        own, other = self._moves[_PHASES[number - 1]], self._moves[_PHASES[2 - number]]
        for move, countered, start, adder in zip(own, other, self._start, self._weights, strict=True):
            move.lerp_((adder.exact - start).div_(steps).sub_(countered), steps / (steps + STEADY))
