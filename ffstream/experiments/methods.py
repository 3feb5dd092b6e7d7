"""The methods of a row: Forward-Forward, backprop of the same widths, and a trunk that never learns.

The fourth, the recurrent network, is in ``ffstream.experiments.recurrent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.config.network import BY_GOODNESS, Prediction
from ffstream.experiments.recurrent import Recurrent
from ffstream.experiments.row import Row
from ffstream.ff.goodness import normalise
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.measured import dtype_of
from ffstream.ff.network import Network
from ffstream.ff.readout import Readout
from ffstream.measuring.nets import MOMENTS, Backprop


class Method(Protocol):
    """A method that learns from labeled rows.

    Attributes
    ----------
    parameters
        Number of learned parameters.
    """

    parameters: int

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Learn rows (n, i) float32 under labels (n,) in one step."""

    def predict(self, rows: Tensor) -> Tensor:
        """Return the labels (n,) predicted for rows (n, i)."""

    def anneal(self, share: float) -> None:
        """Set the step size to a share of the configured one."""

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that learning changes, by name."""

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Restore the tensors that ``state`` returned."""


class Forward:
    """The sweep, always in the same phase."""

    def __init__(
        self, network: NetworkConfig, optimizer: OptimizerConfig, device: torch.device, phase: Phase = Phase.TOGETHER
    ) -> None:
        self.network = Network(network, optimizer, device)
        self.phase = phase
        self.anneal = self.network.anneal
        self.state = self.network.state
        readout = (self.network.readout.weight,) if self.network.readout else ()
        layers = (part for layer in self.network.layers for part in layer.form.coding.parameters().values())
        weights = (layer.weight for layer in self.network.layers)
        self.parameters = sum(tensor.numel() for tensor in (*weights, *layers, *readout))

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        self.network.sweep(rows, Lesson(labels, self.phase, scored=False), generator)

    def predict(self, rows: Tensor) -> Tensor:
        return self.network.sweep(rows).labels()

    @property
    def rules(self) -> tuple[Prediction, ...]:
        """Prediction rules that the network supports."""
        network = self.network.config
        by_readout: tuple[Prediction, ...] = ("readout",) if network.coding == "none" else ("readout", "cascade")
        told: tuple[Prediction, ...] = BY_GOODNESS if network.coding != "none" else ()
        if len(network.stack) == 1:
            told = told[:1]
        return told + (by_readout if self.network.readout else ())

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        for name, tensor in self.network.state().items():
            tensor.copy_(saved[name])


class OfBackprop:
    """A multilayer perceptron of the same widths, trained by cross-entropy and Adam."""

    def __init__(self, network: NetworkConfig, rate: float, device: torch.device) -> None:
        net = "-".join(map(str, (network.width, *(layer.units for layer in network.stack))))
        dtype = dtype_of(network.precision, device)
        self.model = Backprop(net, dtype, device, compiled=False, seed=network.seed, rate=rate, labels=network.labels)
        self.predict, self.anneal = self.model.predict, self.model.anneal
        self.state, self.restore = self.model.state, self.model.restore
        self.parameters = sum(tensor.numel() for name, tensor in self.state().items() if not name.startswith(MOMENTS))

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        self.model.step(rows, labels)


class Frozen:
    """The same net with its initial weights, under a linear softmax read-out of all layers' activities.

    Forward-Forward must beat the accuracy of such a random trunk to have learned anything worth reading out.
    """

    def __init__(self, network: NetworkConfig, rate: float, device: torch.device) -> None:
        # Without a coding no label enters the input, so there is only one path through the layers.
        unlabelled = network.model_copy(update={"coding": "none", "readout": "none"})
        self.trunk = Network(unlabelled, OptimizerConfig(), device)
        self.device = device
        inputs = self._activities(torch.zeros(1, network.width, device=device)).shape[1]
        # A read-out's rate is Adam's step size times the number of activities.
        self.rate = rate * inputs
        self.readout = Readout(network.labels, inputs, self.rate, device, network.smoothing)
        self.parameters = self.readout.weight.numel()
        self.state = self.readout.state

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        inputs = self._activities(rows)
        share = torch.full((len(rows), 1), 1 / len(rows), device=self.device)
        self.readout.learn(inputs, self.readout.read(inputs), labels, share)

    def predict(self, rows: Tensor) -> Tensor:
        return self.readout.read(self._activities(rows)).argmax(1)

    def anneal(self, share: float) -> None:
        self.readout.anneal(share * self.rate)

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(saved[name])

    def _activities(self, rows: Tensor) -> Tensor:
        """Return the normalized activities of all layers, concatenated; (n, f)."""
        return torch.cat([normalise(activities[:, 0]) for _, activities in self.trunk.look(rows)], 1)


def make(row: Row, seed: int, device: torch.device) -> Method:
    """Make the method that a row declares, with the initial weights of a seed."""
    network = row.network.model_copy(update={"seed": seed})
    if row.method == "backprop":
        return OfBackprop(network, row.rate, device)
    if row.method == "frozen":
        return Frozen(network, row.rate, device)
    if row.method == "recurrent":
        return Recurrent(network, row.optimizer, row.iterations, device)
    return Forward(network, row.optimizer, device, Phase(row.phase))
