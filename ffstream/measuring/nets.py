"""Networks to measure, by name, and backprop networks of the same widths."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ffstream.config import NetworkConfig
from ffstream.errors import ConfigError

LABELS = 10
# Prefix of the names of optimizer tensors.
MOMENTS = "adam."
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
    """Return the configuration of a net, with default values for all keys that are not in ``changes``."""
    inputs, *hidden = widths(net)
    return NetworkConfig.model_validate({"shape": (inputs,), "labels": LABELS, "hidden": hidden, **changes})


class Backprop:
    """A multilayer perceptron of the same widths, with a linear layer for the labels, cross-entropy and fused Adam.

    Parameters
    ----------
    net
        Widths by name, as in ``widths``.
    dtype
        Type of weights, activations and optimizer state.
    compiled
        True if the forward and backward pass go through ``torch.compile``.
    seed
        Seed of the initial weights.
    rate
        Adam's step size.
    labels
        Number of labels.
    """

    def __init__(
        self,
        net: str,
        dtype: torch.dtype,
        device: torch.device,
        *,
        compiled: bool,
        seed: int = 0,
        rate: float = 1e-3,
        labels: int = LABELS,
    ) -> None:
        torch.manual_seed(seed)
        sizes = widths(net)
        layers = [
            module for fan_in, units in itertools.pairwise(sizes) for module in (nn.Linear(fan_in, units), nn.ReLU())
        ]
        self.dtype = dtype
        self.rate = rate
        self.model = nn.Sequential(*layers, nn.Linear(sizes[-1], labels)).to(device, dtype)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True)
        self._forward = torch.compile(self._loss) if compiled else self._loss

    def step(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Learn rows (n, i) under labels (n,); return the labels (n,) predicted before the update."""
        self.optimizer.zero_grad()
        loss, predicted = self._forward(rows, labels)
        loss.backward()  # type: ignore[no-untyped-call]  # has no annotations
        self.optimizer.step()
        return predicted

    def predict(self, rows: Tensor) -> Tensor:
        """Return the labels (n,) predicted for rows (n, i), without learning."""
        with torch.no_grad():
            predicted: Tensor = self.model(rows.to(self.dtype)).argmax(1)
        return predicted

    def anneal(self, share: float) -> None:
        """Set the step size to a share of the initial one."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * share

    def state(self) -> dict[str, Tensor]:
        """Return weights and moments by name, for ``restore``."""
        moments = self.optimizer.state_dict()["state"]
        return dict(self.model.state_dict()) | {
            f"{MOMENTS}{index}.{name}": tensor for index, named in moments.items() for name, tensor in named.items()
        }

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Restore the tensors that ``state`` returned."""
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in saved.items():
            if key.startswith(MOMENTS):
                index, _, name = key.removeprefix(MOMENTS).partition(".")
                moments.setdefault(int(index), {})[name] = tensor
        self.model.load_state_dict({key: value for key, value in saved.items() if not key.startswith(MOMENTS)})
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    def _loss(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(rows.to(self.dtype))
        return functional.cross_entropy(logits.float(), labels), logits.detach().argmax(1)
