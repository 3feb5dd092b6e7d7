"""The forward pass by plain formula, apart from the source, and the small networks that the tests use.

A coding is called by the name of its assemblies where it has them: ``disjoint`` and ``random`` are both assembly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.labels import Assembly, Coding, Context, Overlay, disjoint_assemblies, random_assemblies
from ffstream.ff.layers import Layer, Lesson, Phase
from ffstream.ff.network import Network, Scores
from ffstream.ff.optim import InPlace
from ffstream.ff.rounding import Nearest

CODINGS = ("disjoint", "random", "context", "overlay")
PHASES = tuple(Phase)
RULES = ("in_place", "unit", "factored", "momentum", "adam")
# Two units of each layer are left over by the disjoint assemblies.
WIDTH, UNITS, LABELS, TEMPERATURE = 9, 14, 4, 3.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_layer(coding: str, threshold: float = 2.0) -> Layer:
    """Make one float64 layer, whose outputs have a mean that is not zero."""
    generator = seeded()
    weight = torch.randn(UNITS, WIDTH, generator=generator, dtype=torch.float64) / WIDTH**0.5
    made: Coding
    if coding == "context":
        made = Context(torch.randn(LABELS, UNITS, generator=generator, dtype=torch.float64), TEMPERATURE)
    elif coding == "overlay":
        made = Overlay(TEMPERATURE)
    elif coding == "disjoint":
        made = Assembly(disjoint_assemblies(LABELS, UNITS).double(), TEMPERATURE, run=UNITS // LABELS)
    else:
        made = Assembly(random_assemblies(LABELS, UNITS, 0.4, generator).double(), TEMPERATURE)
    layer = Layer(weight, made, InPlace(Nearest(weight), made.parameters().get("context"), 0.1), threshold)
    layer.centre.uniform_(0, 0.5, generator=generator)
    return layer


def make_network(
    coding: str,
    rule: str = "in_place",
    *,
    device: str = "cpu",
    rate: float = 0.01,
    rounding: str = "nearest",
    **network: Any,
) -> Network:
    """Make a network of two layers, float32 unless told otherwise."""
    assembly = coding in ("disjoint", "random")
    values = {
        "shape": (WIDTH,),
        "labels": LABELS,
        "hidden": (UNITS, UNITS),
        "coding": "assembly" if assembly else coding,
        "assemblies": coding if assembly else "disjoint",
        "temperature": TEMPERATURE,
        "threshold": 1.0,
        "precision": "float32",
        **network,
    }
    optimizer = OptimizerConfig(rule=rule, rate=rate, rounding=rounding)
    return Network(NetworkConfig(**values), optimizer, torch.device(device))


def make_rows(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, WIDTH, generator=seeded(seed))


def make_labels(count: int, seed: int = 2) -> Tensor:
    return torch.randint(LABELS, (count,), generator=seeded(seed))


def learn(network: Network, rows: Tensor, m: int, phase: Phase = Phase.TOGETHER, seed: int = 3) -> Scores:
    """Sweep over rows, learning from the first m."""
    return network.sweep(rows, Lesson(make_labels(m), phase), seeded(seed))


def copy_of(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def normalised(rows: Tensor) -> Tensor:
    """Divide by the root mean square; a row of zeros stays one."""
    return rows / (rows**2).mean(-1, keepdim=True).sqrt().clamp(min=1e-10)


def plain_goodness(coding: Coding, weight: Tensor, x: Tensor, label: int) -> Tensor:
    """Return the goodness (n,) that a layer gives a label for inputs (n, i), which carry it under overlay."""
    activation = torch.einsum("ni,ui->nu", x, weight)
    if isinstance(coding, Assembly):
        return coding.temperature * (torch.relu(activation) ** 2 * coding.membership[label]).sum(-1)
    if isinstance(coding, Context):
        activation = activation + coding.top_down[label]
    return coding.temperature * (torch.relu(activation) ** 2).mean(-1)


def plain_loss(goodness: Tensor, threshold: float, phase: Phase, labels: Tensor, negatives: Tensor) -> Tensor:
    """Return the loss of a layer that gives its learning rows a goodness (m, C), summed over them."""
    rows, loss = torch.arange(len(labels)), goodness.new_zeros(len(labels))
    if phase.raises:
        loss = loss + softplus(threshold - goodness[rows, labels])
    if phase.lowers:
        loss = loss + softplus(goodness[rows, negatives] - threshold)
    return loss.sum()


def plain_negative(logits: list[float], label: int, noise: list[float]) -> int:
    """Return the wrong label with the largest logit, each less the logarithm of its noise."""
    wrong = [c for c in range(len(logits)) if c != label]
    return max(wrong, key=lambda c: logits[c] - float(torch.tensor(noise[c]).log()))


def written_over(rows: Tensor, label: int, labels: int) -> Tensor:
    """Write one label over the first pixels."""
    written = rows.clone()
    written[:, :labels] = 0
    written[:, label] = rows.max(-1).values
    return written


def plain_inputs(network: Network, rows: Tensor, label: int) -> list[Tensor]:
    """Return what a label's path brings to each layer, and last what leaves the last one; (n, i) each."""
    labels = network.config.labels
    x = normalised(written_over(rows, label, labels) if network.config.coding == "overlay" else rows) - network.centre
    inputs = [x]
    for layer in network.layers:
        # Layers learn one by one: what goes on is an input to the next, and no part of its loss.
        x = (normalised(torch.relu(x @ layer.weight.T)) - layer.centre).detach()
        inputs.append(x)
    return inputs


def plain_scores(network: Network, rows: Tensor) -> Tensor:
    """Return the goodness (n, layers, C), one label and one layer after another."""
    columns = []
    for label in range(network.config.labels):
        inputs = plain_inputs(network, rows, label)
        column = [
            plain_goodness(layer.coding, layer.weight, x, label)
            for layer, x in zip(network.layers, inputs, strict=False)
        ]
        columns.append(torch.stack(column, 1))
    return torch.stack(columns, 2)
