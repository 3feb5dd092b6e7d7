"""The network, and the one loop that predicts and learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.goodness import normalise
from ffstream.ff.labels import (
    Assembly,
    Coding,
    Context,
    Overlay,
    disjoint_assemblies,
    random_assemblies,
    write_labels,
)
from ffstream.ff.layers import Layer, Lesson
from ffstream.ff.negatives import wrong_labels
from ffstream.ff.optim import Adam, InPlace, Rule


@dataclass(frozen=True)
class Scores:
    """What a sweep found.

    Attributes
    ----------
    goodness
        (n, layers, C): goodness of every label in every layer, taken before that layer's own update.
    negatives
        (m, layers) int64: the wrong labels that the learning rows were shown; m is 0 without a lesson.
    """

    goodness: Tensor
    negatives: Tensor

    def probabilities(self) -> Tensor:
        """Return the probability of each label, softmax of goodness averaged over layers; (n, C).

        The mean, not the sum: the layers see the same row, so adding their evidence up counts it several times.
        On MNIST after one pass the mean is calibrated within 1 point, the sum within 3.
        """
        return self.goodness.mean(1).softmax(-1)

    def labels(self) -> Tensor:
        """Return the label with the largest summed goodness; (n,) int64."""
        return self.goodness.sum(1).argmax(-1)


class Network:
    """Layers that learn one after another, while the rows pass through them.

    Parameters
    ----------
    network
        Shape and label coding.
    optimizer
        The rule that each layer gets.
    device
        Where the weights live.
    """

    def __init__(self, network: NetworkConfig, optimizer: OptimizerConfig, device: torch.device) -> None:
        self.config = network
        self.device = device
        generator = torch.Generator().manual_seed(network.seed)
        widths = [network.width, *network.hidden]
        self.layers = [
            _layer(network, optimizer, fan_in, units, generator, device)
            for fan_in, units in zip(widths, network.hidden, strict=False)
        ]

    def sweep(self, rows: Tensor, lesson: Lesson | None = None, generator: torch.Generator | None = None) -> Scores:
        """Send rows through the layers once: score every row, and learn from the first ones.

        A layer scores all rows with the weights that it had when the sweep reached it, then updates them from
        the lesson's rows alone. No row's scores depend on whether another row is learned from.

        Parameters
        ----------
        rows
            (n, i) float32 on the network's device, learning rows first.
        lesson
            Labels and phase of the first m rows, or ``None`` to learn nothing.
        generator
            Draws the wrong labels; needed where there is a lesson.
        """
        if lesson is not None and generator is None:
            raise ValueError("a lesson needs a generator to draw its wrong labels from")
        m = 0 if lesson is None else len(lesson.labels)
        scores: list[Tensor] = []
        negatives: list[Tensor] = []
        summed = rows.new_zeros(m, self.config.labels)
        x = self._enter(rows)
        for layer in self.layers:
            reading = layer.read(x)
            scores.append(reading.goodness)
            summed = summed + reading.goodness[:m]
            if lesson is not None and generator is not None:
                # What the network believes so far: the layers above have not spoken yet.
                wrong = wrong_labels(summed / len(scores), lesson.labels, self.config.negatives, generator)
                layer.rule.apply(layer.gradient(reading, x, lesson, wrong))
                negatives.append(wrong)
            x = normalise(reading.onward)
        return Scores(
            torch.stack(scores, 1),
            torch.stack(negatives, 1)
            if negatives
            else torch.empty(0, len(scores), dtype=torch.int64, device=rows.device),
        )

    def dead_units(self, rows: Tensor) -> list[int]:
        """Count, a layer, the units that no row of (n, i) activates."""
        counts: list[int] = []
        x = self._enter(rows)
        for layer in self.layers:
            hidden = layer.read(x).onward
            counts.append(int((hidden <= 0).all(0).all(0).sum()))
            x = normalise(hidden)
        return counts

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that a checkpoint must hold, by name; writing into them restores the network."""
        return {f"{i}.{name}": tensor for i, layer in enumerate(self.layers) for name, tensor in layer.state().items()}

    def _enter(self, rows: Tensor) -> Tensor:
        rows = rows.unsqueeze(1)
        return normalise(write_labels(rows, self.config.labels) if self.config.coding == "overlay" else rows)


def _layer(
    network: NetworkConfig,
    optimizer: OptimizerConfig,
    fan_in: int,
    units: int,
    generator: torch.Generator,
    device: torch.device,
) -> Layer:
    weight = (torch.randn(units, fan_in, generator=generator) / fan_in**0.5).to(device)
    coding = _coding(network, units, generator, device)
    parameters = {"weight": weight, **coding.parameters()}
    rule: Rule = (
        Adam(parameters, optimizer.rate, optimizer.betas)
        if optimizer.rule == "adam"
        else InPlace(parameters, optimizer.rate)
    )
    return Layer(weight, coding, rule, network.threshold)


def _coding(network: NetworkConfig, units: int, generator: torch.Generator, device: torch.device) -> Coding:
    if network.coding == "context":
        return Context(torch.randn(network.labels, units, generator=generator).to(device), network.temperature)
    if network.coding == "overlay":
        return Overlay(network.temperature)
    membership = (
        disjoint_assemblies(network.labels, units)
        if network.assemblies == "disjoint"
        else random_assemblies(network.labels, units, network.assembly_share, generator)
    )
    return Assembly(membership.to(device), network.temperature)
