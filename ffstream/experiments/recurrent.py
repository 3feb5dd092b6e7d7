"""The recurrent network: a still image is a boring video, which a layer sees through the layers below and above it.

The paper, section 3.4 (Hinton 2022, arXiv 2212.13345). The bottom is the image, the top a label, one of N; both stay as
they are. At every iteration all hidden layers move at once, to what their weights make of the normalised states of
their neighbours at the iteration before. So what is to be seen reaches down from the label as what is there reaches up
from the image, and goodness is high where the two agree. No slope passes from a layer to another, nor from an iteration
back to the one before: a layer's loss is that of its state now, its inputs are what they were.
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
from ffstream.ff.negatives import wrong_labels
from ffstream.ff.optim import Rule, make_rule
from ffstream.ff.products import dtype_of
from ffstream.ff.readout import Readout
from ffstream.ff.rounding import LAYER_SEEDS, make_adder
from ffstream.ff.stepsize import step_size

# Share of a state that is left of it at the next iteration: without it states swing to and fro (the paper).
DAMPING = 0.3
# The iterations, of 1, 2, …, whose goodness decides between labels (the paper).
JUDGED = (3, 4, 5)


class Link(NamedTuple):
    """The weights through which a layer sees a neighbour, and the rule that changes them."""

    connection: Dense
    rule: Rule

    def see(self, inputs: Tensor) -> Tensor:
        """Turn a neighbour's inputs (n, p, i) into the activations (n, p, u) float32 that they add to."""
        return self.connection.forward(inputs).float()


class Seen(NamedTuple):
    """What a hidden layer came to at one iteration.

    Attributes
    ----------
    below, above
        (n, p, i): its inputs, the normalised states of its neighbours at the iteration before. The image has one path
        (n, 1, i) whatever the label.
    activation
        (n, p, u): what its weights made of them.
    state
        (n, p, u): its state after that.
    """

    below: Tensor
    above: Tensor
    activation: Tensor
    state: Tensor


@dataclass(frozen=True)
class Hidden:
    """A layer between two others, which learns from its own state alone.

    Attributes
    ----------
    below, above
        How it sees its neighbours.
    activation, goodness, pool, threshold
        What units make of their inputs, what is good, over which units, and where the layer is undecided.
    """

    below: Link
    above: Link
    activation: Activation
    goodness: Goodness
    pool: Pool
    threshold: float

    def move(self, state: Tensor, activation: Tensor) -> Tensor:
        """Return the next state, of a state (n, p, u) and activations (n, p, u)."""
        return DAMPING * state + (1 - DAMPING) * self.activation.value(activation)

    def read(self, state: Tensor) -> Tensor:
        """Return the goodness (n, p) of a state (n, p, u)."""
        return self.goodness.read(state[:, :, None, None], self.pool)[:, 0]

    def delta(self, seen: Seen, signs: Tensor) -> Tensor:
        """Slope at the activations (n, p, u) of the layer's loss at one iteration.

        The loss is ``softplus(-+(goodness - threshold))``, summed over rows and paths; what is left of the state
        before, and the inputs, count as given.

        Parameters
        ----------
        signs
            (p,): 1 where goodness is to rise, 0 where it is to fall.
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
        Rule of every matrix of weights.
    iterations
        Learned from, of one batch.
    device
        Where it learns.

    Attributes
    ----------
    layers
        The hidden layers, from the image up.
    readout
        A linear softmax read-out of the states that one pass upwards gives, before any label is on top. It says what
        the image is likely to be mistaken for.
    parameters
        Numbers that are learned.
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
        """Return the first states (n, u) of rows (n, i): one pass upwards, nothing from above."""
        states: list[Tensor] = []
        for layer in self.layers:
            x = self._send(states[-1] if states else rows)
            states.append(layer.activation.value(layer.below.see(x)))
        return states

    def iterate(self, rows: Tensor, states: Sequence[Tensor], labels: Tensor) -> Iterator[list[Seen]]:
        """Go on from first states without end; yield what each hidden layer came to at each iteration.

        Parameters
        ----------
        rows
            (n, i).
        states
            (n, u) of each layer, as ``rise`` returns them.
        labels
            (n, p) int64: the label on top, a path each.
        """
        states = [state.unsqueeze(1).expand(-1, labels.shape[1], -1) for state in states]
        image = self._send(rows).unsqueeze(1)
        top = self._send(functional.one_hot(labels, self.labels).float())
        # Image and label stay, and so does what the weights make of them.
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
            (p,): 1 where goodness is to rise, 0 where it is to fall.
        """
        gradients = []
        by_layer = zip(*islice(self.iterate(rows, states, labels), self.iterations), strict=True)
        for layer, seen in zip(self.layers, by_layer, strict=True):
            deltas = [layer.delta(each, signs).to(self.dtype) for each in seen]
            below, above = [each.below for each in seen], [each.above for each in seen]
            gradients.append((_summed(layer.below, deltas, below), _summed(layer.above, deltas, above)))
        return gradients

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Learn rows (n, i) under their labels (n,), and under wrong ones that the read-out finds likely."""
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
        """Return the goodness of every label at each of some iterations, (iterations, n, C), the mean over layers."""
        every = torch.arange(self.labels, device=self.device).expand(len(rows), -1)
        found = [
            torch.stack([layer.read(each.state) for layer, each in zip(self.layers, seen, strict=True)]).mean(0)
            for seen in islice(self.iterate(rows, self.rise(rows), every), iterations)
        ]
        return torch.stack(found)

    def predict(self, rows: Tensor) -> Tensor:
        """Return the labels (n,) under which rows (n, i) have the most goodness over the iterations that are judged."""
        first, *_, last = JUDGED
        return self.goodness(rows, last)[first - 1 :].mean(0).argmax(1)

    def anneal(self, share: float) -> None:
        """Set every step size to a share of the declared one."""
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
        """Go on from what ``state`` returned."""
        for name, tensor in self.state().items():
            tensor.copy_(saved[name])

    def _send(self, state: Tensor) -> Tensor:
        """Return what neighbours see of a state: its direction alone, so that none reads goodness off its length."""
        return normalise(state).to(self.dtype)


def _summed(link: Link, deltas: Sequence[Tensor], inputs: Sequence[Tensor]) -> LocalGradient:
    """Sum over iterations the gradients of slopes (n, p, u) that met inputs (n, p or 1, i)."""
    first = inputs[0]
    if any(x is not first for x in inputs):
        return link.connection.gradient(torch.cat([*deltas], 1), torch.cat([*inputs], 1), None)
    # What stays, image and label, meets the sum of the slopes once.
    delta = torch.stack([*deltas]).sum(0)
    return link.connection.gradient(delta.sum(1, keepdim=True) if first.shape[1] == 1 else delta, first, None)


def _layers(
    network: NetworkConfig, optimizer: OptimizerConfig, device: torch.device, dtype: torch.dtype
) -> list[Hidden]:
    generator = torch.Generator().manual_seed(network.seed)

    def link(units: int, neighbours: int, steepness: float) -> Link:
        # Each neighbour drives a layer as strongly as the other, however few units it has.
        weight = (torch.randn(units, neighbours, generator=generator) / math.sqrt(neighbours)).to(device)
        seed = int(torch.randint(LAYER_SEEDS, (), generator=generator))
        adder = make_adder(weight, dtype, optimizer.rounding, seed)
        return Link(
            Dense(adder.weight), make_rule(optimizer, adder, step_size(network, optimizer, steepness, neighbours)[0])
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
