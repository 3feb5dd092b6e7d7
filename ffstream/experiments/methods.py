"""The methods of a row: Forward-Forward, backprop in the same widths, and a trunk that never learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.experiments.row import Row
from ffstream.ff.goodness import normalise
from ffstream.ff.layers import Lesson, Phase
from ffstream.ff.network import Network, dtype_of
from ffstream.ff.optim import Adam, LocalGradient
from ffstream.measuring.nets import MOMENTS, Backprop

BETAS = (0.9, 0.999)


class Method(Protocol):
    """Something that learns from labelled rows.

    Attributes
    ----------
    parameters
        Numbers that it learns.
    """

    parameters: int

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Learn rows (n, i) float32 under labels (n,) in one step."""

    def predict(self, rows: Tensor) -> Tensor:
        """Return the labels (n,) predicted for rows (n, i)."""

    def anneal(self, share: float) -> None:
        """Set the step size to a share of the declared one."""

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that learning changes, by name."""

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` returned."""


class Forward:
    """The sweep, both signs in each step."""

    def __init__(self, network: NetworkConfig, optimizer: OptimizerConfig, device: torch.device) -> None:
        self.network = Network(network, optimizer, device)
        self.anneal = self.network.anneal
        self.state = self.network.state
        learned = (name.split(".")[1:] for name in self.state())
        self.parameters = sum(
            tensor.numel()
            for tensor, name in zip(self.state().values(), learned, strict=True)
            if name in (["weight"], ["context"])
        )

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        self.network.sweep(rows, Lesson(labels, Phase.TOGETHER), generator)

    def predict(self, rows: Tensor) -> Tensor:
        return self.network.sweep(rows).labels()

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        for name, tensor in self.network.state().items():
            tensor.copy_(saved[name])


class OfBackprop:
    """A multilayer perceptron of the same widths, cross-entropy, Adam."""

    def __init__(self, network: NetworkConfig, rate: float, device: torch.device) -> None:
        net = "-".join(map(str, (network.width, *network.hidden)))
        dtype = dtype_of(network.precision, device)
        self.model = Backprop(net, dtype, device, compiled=False, seed=network.seed, rate=rate, labels=network.labels)
        self.predict, self.anneal = self.model.predict, self.model.anneal
        self.state, self.restore = self.model.state, self.model.restore
        self.parameters = sum(tensor.numel() for name, tensor in self.state().items() if not name.startswith(MOMENTS))

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        self.model.step(rows, labels)


class Frozen:
    """The first weights of the same net, never changed, under a linear softmax read-out of all layers' activities.

    What a random trunk reaches is what Forward-Forward must beat to have learned anything worth reading out.
    """

    def __init__(self, network: NetworkConfig, rate: float, device: torch.device) -> None:
        self.trunk = [layer.weight.float() for layer in Network(network, OptimizerConfig(), device).layers]
        # One input more, always 1, is the bias.
        self.weight = torch.zeros(network.labels, sum(map(len, self.trunk)) + 1, device=device)
        self.rule = Adam({"weight": self.weight}, rate, BETAS)
        self.rate = rate
        self.parameters = self.weight.numel()

    def learn(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        inputs = self._activities(rows)
        delta = (inputs @ self.weight.T).softmax(1) - functional.one_hot(labels, len(self.weight))
        self.rule.apply(LocalGradient(delta / len(rows), inputs))

    def predict(self, rows: Tensor) -> Tensor:
        return (self._activities(rows) @ self.weight.T).argmax(1)

    def anneal(self, share: float) -> None:
        self.rule.rate = share * self.rate

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight, **self.rule.state()}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(saved[name])

    def _activities(self, rows: Tensor) -> Tensor:
        """Return the normalised activities of every layer side by side, and a 1; (n, f)."""
        x = normalise(rows)
        found = [torch.ones(len(rows), 1, device=rows.device)]
        for weight in self.trunk:
            x = normalise(torch.relu(x @ weight.T))
            found.append(x)
        return torch.cat(found, 1)


def make(row: Row, seed: int, device: torch.device) -> Method:
    """Make what a row declares, with the first weights of a seed."""
    network = row.network.model_copy(update={"seed": seed})
    if row.method == "backprop":
        return OfBackprop(network, row.rate, device)
    if row.method == "frozen":
        return Frozen(network, row.rate, device)
    return Forward(network, row.optimizer, device)
