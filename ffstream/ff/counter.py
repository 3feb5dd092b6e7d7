"""Long phases: while one phase lasts, the network remembers what the other one does to its weights.

Wake alone raises goodness, sleep alone lowers it. Where both are learned in each step their pulls cancel, but for what
tells real data from negatives; where each lasts for a thousand steps, the weights follow one pull until the other takes
over, and what was learned is lost on the way (arXiv 2310.18647). So each phase also makes, at each of its steps, the
mean move of the other: the other sign is there all the time, as it was when it was last felt. It is the remembered
gradient of stochastic average gradient (Le Roux et al. 2012, arXiv 1202.6258) for a sum of two losses, one a phase::

    W += move of this step  +  mean move of the other phase, when it last ran

Nothing is summed up for it. In a phase of K steps the weights go from W0 to W1 = W0 + K (own + other), own being the
mean move sought and other the one that was remembered; so ``own = (W1 - W0) / K - other``. The move of a few steps is
mostly chance, so short phases are averaged until they come to about ``STEADY`` steps.

And the longer the phases, the smaller the steps, for a remembered move is true only as long as the weights stay near
where it was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ffstream.ff.lesson import Phase
from ffstream.ff.rounding import Adder

# Steps of a phase from which on they grow smaller.
BRIEF = 40
# Steps over which the move of a phase is averaged at least.
STEADY = 100
_PHASES = (Phase.WAKE, Phase.SLEEP)


class Counter:
    """Makes, in each phase, the mean move of the other one.

    Parameters
    ----------
    weights
        What adds to each matrix of a network that learns.
    """

    def __init__(self, weights: Sequence[Adder]) -> None:
        self._weights = weights
        self._start = [adder.exact.clone() for adder in weights]
        self._moves = {phase: [torch.zeros_like(start) for start in self._start] for phase in _PHASES}
        # The phase that runs (1 and 2; 0 where none does), its steps so far, and the steps that each phase lasted last.
        self._counts = torch.zeros(4, dtype=torch.int64)

    @property
    def share(self) -> float:
        """Share of the configured step size to take: ``sqrt(BRIEF / K)`` where phases last K > ``BRIEF`` steps."""
        longest = max(int(steps) for steps in self._counts[1:])
        return min(1.0, math.sqrt(BRIEF / max(longest, 1)))

    def step(self, phase: Phase) -> None:
        """Count a step of a phase, and make the other one's move; learning both at once makes and remembers none."""
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
        """Keep the mean move of the phase that ends."""
        number, steps = int(self._counts[0]), int(self._counts[1])
        if not number or not steps:
            return
        self._counts[1 + number] = steps
        own, other = self._moves[_PHASES[number - 1]], self._moves[_PHASES[2 - number]]
        for move, countered, start, adder in zip(own, other, self._start, self._weights, strict=True):
            move.lerp_((adder.exact - start).div_(steps).sub_(countered), steps / (steps + STEADY))
