"""The networks that are measured, by name, and the same widths under backprop."""

from __future__ import annotations

import itertools
import re

import torch
from torch import Tensor, nn
from torch.nn import functional

from ffstream.config import NetworkConfig
from ffstream.errors import ConfigError

LABELS = 10
NETS = ("784-512-512", "784-3x1000", "784-4x2000", "784-16x1000")


def widths(net: str) -> tuple[int, ...]:
    """Read ``784-3x1000`` as (784, 1000, 1000, 1000).

    Raises
    ------
    ConfigError
        If the name is not of that form.
    """
    if not re.fullmatch(r"[1-9]\d*(-([1-9]\d*x)?[1-9]\d*)+", net):
        raise ConfigError(f"--net {net}: is not of the form 784-512-512 or 784-3x1000")
    parts = [part.rpartition("x") for part in net.split("-")]
    return tuple(int(width) for times, _, width in parts for _ in range(int(times or 1)))


def network_of(net: str, **changes: object) -> NetworkConfig:
    """Return the configuration of a net, everything that is not changed as by default."""
    inputs, *hidden = widths(net)
    return NetworkConfig.model_validate({"shape": (inputs,), "labels": LABELS, "hidden": hidden, **changes})


class Backprop:
    """A multilayer perceptron of the same widths, with a linear layer for the labels, cross-entropy and fused Adam.

    Parameters
    ----------
    net
        By name.
    dtype
        Of weights, activations and optimizer state.
    compiled
        Whether forward and backward go through ``torch.compile``.
    seed
        Of the first weights.
    rate
        Adam's step size.
    """

    def __init__(
        self, net: str, dtype: torch.dtype, device: torch.device, *, compiled: bool, seed: int = 0, rate: float = 1e-3
    ) -> None:
        torch.manual_seed(seed)
        sizes = widths(net)
        layers = [
            module for fan_in, units in itertools.pairwise(sizes) for module in (nn.Linear(fan_in, units), nn.ReLU())
        ]
        self.dtype = dtype
        self.model = nn.Sequential(*layers, nn.Linear(sizes[-1], LABELS)).to(device, dtype)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True)
        self._forward = torch.compile(self._loss) if compiled else self._loss

    def step(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Learn rows (n, i) under labels (n,); return the labels predicted before, (n,)."""
        self.optimizer.zero_grad()
        loss, predicted = self._forward(rows, labels)
        loss.backward()  # type: ignore[no-untyped-call]  # has no annotations
        self.optimizer.step()
        return predicted

    def _loss(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(rows.to(self.dtype))
        return functional.cross_entropy(logits.float(), labels), logits.detach().argmax(1)
