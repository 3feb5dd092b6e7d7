"""The recurrent network: a still image as a boring video, with layers that see the layers below and above them.

It follows section 3.4 of the paper (Hinton 2022, arXiv 2212.13345). The bottom layer is the image, the top layer a
one-of-N label; both are fixed. At every iteration all hidden layers are updated at once, from the normalized states of
their neighbors at the previous iteration. Top-down input from the label thus meets bottom-up input from the image, and
goodness is high if the two agree. No gradient passes from one layer to another, or from one iteration back to the
previous one: a layer's loss depends on its current state, and its inputs are constants.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.activations import ACTIVATIONS, Activation
from ffstream.ff.assemblies import whole
from ffstream.ff.connections import Dense
from ffstream.ff.goodness import Goodness, Pool, make_goodness, normalise
from ffstream.ff.gradients import LocalGradient
from ffstream.ff.measured import dtype_of
from ffstream.ff.negatives import wrong_labels
from ffstream.ff.optim import Rule, make_rule
from ffstream.ff.readout import Readout
from ffstream.ff.rounding import LAYER_SEEDS, make_adder
from ffstream.ff.stepsize import derive_step

# Share of a state that is kept at the next iteration; without it states oscillate (the paper).
DAMPING = 0.3
# Iterations, counted from 1, whose goodness decides between labels (the paper).
JUDGED = (3, 4, 5)


class Link(NamedTuple):
    """The weights through which a layer sees a neighbor, and the rule that updates them."""

    connection: Dense
    rule: Rule

    def see(self, inputs: Tensor) -> Tensor:
        """Return the contribution (n, p, u) float32 of a neighbor's inputs (n, p, i) to the activations."""
        return self.connection.forward(inputs).float()


class Seen(NamedTuple):
    """Inputs, activations and state of a hidden layer at one iteration.

    Attributes
    ----------
    below, above
        (n, p, i): inputs, the normalized states of its neighbors at the previous iteration. The image has one path
        (n, 1, i) for all labels.
    activation
        (n, p, u): weighted sums of the inputs.
    state
        (n, p, u): state after the update.
    """

    below: Tensor
    above: Tensor
    activation: Tensor
    state: Tensor


@dataclass(frozen=True)
class Hidden:
    """A layer between two others, which learns only from its own state.

    Attributes
    ----------
    below, above
        Links to its neighbors.
    activation, goodness, pool, threshold
        Activation function, goodness, units that it is computed over, and goodness at which the layer is undecided.
    """

    below: Link
    above: Link
    activation: Activation
    goodness: Goodness
    pool: Pool
    threshold: float

    def move(self, state: Tensor, activation: Tensor) -> Tensor:
        """Return the next state from a state (n, p, u) and activations (n, p, u)."""
        return DAMPING * state + (1 - DAMPING) * self.activation.value(activation)

    def read(self, state: Tensor) -> Tensor:
        """Return the goodness (n, p) of a state (n, p, u)."""
        return self.goodness.read(state[:, :, None, None], self.pool)[:, 0]

    def delta(self, seen: Seen, signs: Tensor) -> Tensor:
        """Return the gradient (n, p, u) of the layer's loss at one iteration with respect to its activations.

        The loss is ``softplus(-+(goodness - threshold))``, summed over rows and paths; the kept share of the previous
        state, and the inputs, are constants.

        Parameters
        ----------
        signs
            (p,): 1 where goodness should rise, 0 where it should fall.
        """
        slope = torch.sigmoid(self.read(seen.state) - self.threshold) - signs
        rise = self.goodness.slope(seen.state[:, :, None, None], self.pool, None, slope.unsqueeze(1))[:, :, 0, 0]
        return (1 - DAMPING) * rise * self.activation.slope(seen.activation)


class Recurrent:
    """Hidden layers between an image and a label.

    Parameters
    ----------
    network
        Shape, labels, widths, activation, goodness, threshold, read-out and seed.
    optimizer
        Update rule of every weight matrix.
    iterations
        Number of iterations per batch that are learned from.
    device
        Device that it learns on.

    Attributes
    ----------
    layers
        The hidden layers, from the image up.
    readout
        Linear softmax read-out of the states after one upward pass, before any label is on top. It predicts which
        labels the image is likely to be mistaken for.
    parameters
        Number of learned parameters.
    """

    def __init__(
        self, network: NetworkConfig, optimizer: OptimizerConfig, iterations: int, device: torch.device
    ) -> None:
        self.iterations = iterations
        self.labels, self.device = network.labels, device
        self.dtype = dtype_of(network.precision, device)
        self.layers = _layers(network, optimizer, device, self.dtype)
        self.readout = Readout(network.labels, sum(network.hidden), network.readout_rate, device)
        self._trust = float(network.negatives == "belief")
        rules = [link.rule for layer in self.layers for link in (layer.below, layer.above)]
        self._rates = [(rule, rule.rate) for rule in rules]
        self._readout_rate = network.readout_rate
        links = (link.connection.weight for layer in self.layers for link in (layer.below, layer.above))
        self.parameters = sum(tensor.numel() for tensor in (*links, self.readout.weight))

    def rise(self, rows: Tensor) -> list[Tensor]:
        """Return the initial states (n, u) of rows (n, i), from one upward pass without input from above."""
        states: list[Tensor] = []
        for layer in self.layers:
            x = self._send(states[-1] if states else rows)
            states.append(layer.activation.value(layer.below.see(x)))
        return states

    def iterate(self, rows: Tensor, states: Sequence[Tensor], labels: Tensor) -> Iterator[list[Seen]]:
        """Iterate endlessly from initial states; yield the ``Seen`` of each hidden layer at each iteration.

        Parameters
        ----------
        rows
            (n, i).
        states
            (n, u) of each layer, as ``rise`` returns them.
        labels
            (n, p) int64: the label on top, one per path.
        """
        states = [state.unsqueeze(1).expand(-1, labels.shape[1], -1) for state in states]
        image = self._send(rows).unsqueeze(1)
        top = self._send(functional.one_hot(labels, self.labels).float())
        # Image and label are fixed, and so are their contributions.
        from_image, from_label = self.layers[0].below.see(image), self.layers[-1].above.see(top)
        while True:
            between = [self._send(state) for state in states]
            upward = [layer.below.see(x) for layer, x in zip(self.layers[1:], between[:-1], strict=True)]
            downward = [layer.above.see(x) for layer, x in zip(self.layers[:-1], between[1:], strict=True)]
            pairs = zip([from_image, *upward], [*downward, from_label], strict=True)
            activations = [below + above for below, above in pairs]
            states = [layer.move(*of) for layer, *of in zip(self.layers, states, activations, strict=True)]
            inputs = ([image, *between[:-1]], [*between[1:], top])
            yield [Seen(*parts) for parts in zip(*inputs, activations, states, strict=True)]

    def gradients(
        self, rows: Tensor, states: Sequence[Tensor], labels: Tensor, signs: Tensor
    ) -> list[tuple[LocalGradient, LocalGradient]]:
        """Return the gradients of each layer's loss, summed over iterations, for the weights from below and above.

        Parameters
        ----------
        rows, states, labels
            See ``iterate``.
        signs
            (p,): 1 where goodness should rise, 0 where it should fall.
        """
        gradients = []
        by_layer = zip(*islice(self.iterate(rows, states, labels), self.iterations), strict=True)
        for layer, seen in zip(self.layers, by_layer, strict=True):
            deltas = [layer.delta(each, signs).to(self.dtype) for each in seen]
            below, above = [each.below for each in seen], [each.above for each in seen]
            gradients.append((_summed(layer.below, deltas, below), _summed(layer.above, deltas, above)))
        return gradients

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Learn rows (n, i) under their labels (n,), and under wrong labels that the read-out finds likely."""
        states = self.rise(rows)
        activities = torch.cat([normalise(state) for state in states], 1)
        logits = self.readout.read(activities)
        noise = torch.empty_like(logits).exponential_(generator=generator)
        wrong = wrong_labels(logits * self._trust, labels.unsqueeze(1), noise)
        shown = torch.cat([labels.unsqueeze(1), wrong], 1)
        gradients = self.gradients(rows, states, shown, torch.tensor([1.0, 0.0], device=self.device))
        for layer, (below, above) in zip(self.layers, gradients, strict=True):
            layer.below.rule.apply(below)
            layer.above.rule.apply(above)
        self.readout.learn(activities, logits, labels, torch.ones(len(rows), 1, device=self.device))

    def goodness(self, rows: Tensor, iterations: int) -> Tensor:
        """Return the goodness of every label at each iteration, (iterations, n, C), as a mean over layers."""
        every = torch.arange(self.labels, device=self.device).expand(len(rows), -1)
        found = [
            torch.stack([layer.read(each.state) for layer, each in zip(self.layers, seen, strict=True)]).mean(0)
            for seen in islice(self.iterate(rows, self.rise(rows), every), iterations)
        ]
        return torch.stack(found)

    def predict(self, rows: Tensor) -> Tensor:
        """Return the labels (n,) with the most goodness for rows (n, i), averaged over the judged iterations."""
        first, *_, last = JUDGED
        return self.goodness(rows, last)[first - 1 :].mean(0).argmax(1)

    def anneal(self, share: float) -> None:
        """Set every step size to a share of the configured one."""
        for rule, rate in self._rates:
            rule.rate = share * rate
        self.readout.anneal(share * self._readout_rate)

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that learning changes, by name."""
        kept = {f"readout.{name}": tensor for name, tensor in self.readout.state().items()}
        for i, layer in enumerate(self.layers):
            for side, link in (("below", layer.below), ("above", layer.above)):
                kept[f"{i}.{side}.weight"] = link.connection.weight
                kept |= {f"{i}.{side}.rule.{name}": tensor for name, tensor in link.rule.state().items()}
        return kept

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Restore the tensors that ``state`` returned."""
        for name, tensor in self.state().items():
            tensor.copy_(saved[name])

    def _send(self, state: Tensor) -> Tensor:
        """Return a state as neighbors see it: only its direction, so that its length does not reveal its goodness."""
        return normalise(state).to(self.dtype)


def _summed(link: Link, deltas: Sequence[Tensor], inputs: Sequence[Tensor]) -> LocalGradient:
    """Return the gradient of deltas (n, p, u) and inputs (n, p or 1, i), summed over iterations."""
    first = inputs[0]
    if any(x is not first for x in inputs):
        return link.connection.gradient(torch.cat([*deltas], 1), torch.cat([*inputs], 1), None)
    # Image and label are the same at every iteration, so they are multiplied by the sum of the deltas once.
    delta = torch.stack([*deltas]).sum(0)
    return link.connection.gradient(delta.sum(1, keepdim=True) if first.shape[1] == 1 else delta, first, None)


def _layers(
    network: NetworkConfig, optimizer: OptimizerConfig, device: torch.device, dtype: torch.dtype
) -> list[Hidden]:
    generator = torch.Generator().manual_seed(network.seed)

    def link(units: int, neighbours: int, steepness: float) -> Link:
        # Both neighbors drive a layer equally strongly, whatever their numbers of units.
        weight = (torch.randn(units, neighbours, generator=generator) / math.sqrt(neighbours)).to(device)
        seed = int(torch.randint(LAYER_SEEDS, (), generator=generator))
        adder = make_adder(weight, dtype, optimizer.rounding, seed)
        return Link(
            Dense(adder.weight),
            make_rule(optimizer, adder, derive_step(network, optimizer, steepness, neighbours).rate),
        )

    sizes = [network.width, *network.hidden, network.labels]
    sign = -1 if network.goodness == "minimised" else 1
    layers = []
    for below, units, above in zip(sizes, sizes[1:], sizes[2:], strict=False):
        share, size = whole(units, half=network.goodness == "ratio")
        temperature = network.temperature if isinstance(network.temperature, float) else float(size)
        threshold = network.threshold if isinstance(network.threshold, float) else temperature
        goodness = make_goodness(network.goodness, temperature, network.top_share)
        pool = Pool(share.to(device), size)
        steepness = goodness.steepness(size)
        links = link(units, below, steepness), link(units, above, steepness)
        layers.append(Hidden(*links, ACTIVATIONS[network.activation], goodness, pool, sign * threshold))
    return layers
