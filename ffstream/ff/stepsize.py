"""The size of a layer's step, derived from what the layer is.

A sample changes the activation of a unit that counts for its label by ``rate * slope * x.x``. The slope of goodness at
an activity of 1 is the layer's *steepness*, and a normalised row has ``x.x = fan_in``. So relative to the activity the
change is ``rate * steepness * fan_in``, the *gain* of a sample. The default rate fixes the gain and not the rate. The
gain is then the same for every width, depth, number of labels, temperature and kind of layer.

The first samples of a label teach more: the gain of a label's samples begins at twice the value and falls with the root
of what the label was taught, as step sizes of stochastic approximation fall (Robbins and Monro 1951). A label that has
had a few hundred samples is taught by the plain gain for as long as the stream lasts.

Samples of one step that teach the same units add up. A unit whose gain is above 2 overshoots, and a layer that
overshoots at every step diverges. So the samples that crowd the same units share a gain of ``MOST_GAIN``. This
bound holds whatever the batch, and whatever rate is set by hand.

The constants are chosen by ``ffstream experiment steps``, on inputs that were held out of training data.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.goodness import Pool

# Default gain of one sample; and where a negative is nearly the same input as its real sample and reaches the same
# units, so that wake and sleep pull the same weights to and fro.
GAIN, GAIN_ALIKE = 0.37, 0.18
# By how much more the first samples of a label teach, and the sum of slopes up to which a label counts as new.
EARLY_GAIN, EARLY = 2.0, 200.0
# Gain of all samples of a step that teach the same units. It may be above 2, because samples are not all alike. Inputs
# that are not centred are more so.
MOST_GAIN, MOST_GAIN_UNCENTRED = 6.0, 1.5
# Rate times fan-in of the rules that divide by a running root mean square: they move every weight as far.
NORMALISED = 0.16


class Bound(NamedTuple):
    """Keeps a step from overshooting.

    Attributes
    ----------
    crowd
        Samples of one step that may teach the same units with their full slope.
    early
        By how much more the first samples of a label teach; 1 where the rate is set by hand.
    degree
        Power of the activations with which goodness grows.
    temperature
        Goodness where the mean that it is taken of is 1.
    """

    crowd: float
    early: float
    degree: float
    temperature: float

    def temper(
        self,
        slope: Tensor,
        moved: Tensor | None,
        pool: Pool,
        goodness: Tensor,
        energy: Tensor | None,
        taught: Tensor,
    ) -> Tensor:
        """Scale the slopes of a step: up at new labels, down where the step would overshoot.

        The rows that teach the same units share the step of a crowd. A row counts as much as it slopes: one that the
        layer is sure of teaches nothing, and crowds nobody. A row whose own gain is above the nominal one takes a
        smaller step.

        Parameters
        ----------
        slope
            (n, r, t): slope of the loss at goodness; 0 in rows that teach nothing.
        moved
            (n, t) int64: the labels at whose goodness it slopes; ``None`` for all of them.
        pool
            Which units count for which label.
        goodness
            (n, r, C).
        energy
            (n,): see ``Connection.energy``.
        taught
            (C,): sum of the slopes by which each label was taught; those of this step are added in place. (1,) where
            all labels share all units.
        """
        pull = slope.abs().sum(1)
        if moved is not None:
            pull = (functional.one_hot(moved, goodness.shape[2]) * pull.unsqueeze(2)).sum(1)
        pull = pull.sum(0)
        early = (EARLY / taught.clamp(min=EARLY / self.early**2)).sqrt().clamp(min=1)
        taught.add_(pull if len(taught) > 1 else pull.sum())
        share = early * self.crowd / pool.crowd(early * pull).clamp(min=self.crowd)
        slope = slope * (share if moved is None else share[moved].unsqueeze(1))
        if energy is not None:
            slope = slope / energy.clamp(min=1)[:, None, None]
        if self.degree > 2:
            # The gain grows with the activities.
            gain = (goodness.mean(1).abs() / self.temperature) ** (1 - 2 / self.degree)
            slope = slope / (gain if moved is None else gain.gather(1, moved)).clamp(min=1).unsqueeze(1)
        return slope


class Step(NamedTuple):
    """The step of a layer.

    Attributes
    ----------
    rate
        Rate of its rule.
    crowd, early
        See ``Bound``.
    """

    rate: float
    crowd: float
    early: float


def derive_step(network: NetworkConfig, optimizer: OptimizerConfig, steepness: float, fan_in: int) -> Step:
    """Derive the step of a layer.

    Parameters
    ----------
    network
        Which negatives the layer learns, and whether its inputs are centred.
    optimizer
        Its rule, and its rate where one is set.
    steepness
        Slope of a label's goodness at one of its units, all active at 1.
    fan_in
        Inputs of a unit.
    """
    gain = GAIN_ALIKE if network.coding != "assembly" or network.corruption else GAIN
    most = MOST_GAIN if network.centring else MOST_GAIN_UNCENTRED
    early = EARLY_GAIN if optimizer.rate == "auto" else 1.0
    if optimizer.rule not in ("in_place", "momentum"):
        return Step(NORMALISED / fan_in if optimizer.rate == "auto" else optimizer.rate, most / gain, early)
    rate = gain / (steepness * fan_in) if optimizer.rate == "auto" else optimizer.rate
    return Step(rate, most / (rate * steepness * fan_in), early)
