"""The forward pass by plain formula, apart from the source, and the small networks that the tests use.

A coding is called by the name of its assemblies where it has them: ``disjoint`` and ``random`` are both assembly.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.labels import Assembly, Coding, Context, Overlay, disjoint_assemblies, random_assemblies
from ffstream.ff.layers import Layer, Phase
from ffstream.ff.network import Network
from ffstream.ff.optim import InPlace

CODINGS = ("disjoint", "random", "context", "overlay")
PHASES = tuple(Phase)
RULES = ("adam", "in_place")
WIDTH, UNITS, LABELS, TEMPERATURE = 9, 14, 4, 3.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_layer(coding: str, threshold: float = 2.0) -> Layer:
    """Make one float64 layer."""
    generator = seeded()
    weight = torch.randn(UNITS, WIDTH, generator=generator, dtype=torch.float64) / WIDTH**0.5
    made: Coding
    if coding == "context":
        made = Context(torch.randn(LABELS, UNITS, generator=generator, dtype=torch.float64), TEMPERATURE)
    elif coding == "overlay":
        made = Overlay(TEMPERATURE)
    elif coding == "disjoint":
        made = Assembly(disjoint_assemblies(LABELS, UNITS).double(), TEMPERATURE)
    else:
        made = Assembly(random_assemblies(LABELS, UNITS, 0.4, generator).double(), TEMPERATURE)
    return Layer(weight, made, InPlace({"weight": weight, **made.parameters()}, 0.1), threshold)


def make_network(
    coding: str,
    rule: str = "adam",
    *,
    device: str = "cpu",
    rate: float = 0.01,
    seed: int = 0,
    negatives: str = "belief",
) -> Network:
    """Make a float32 network of two layers."""
    assembly = coding in ("disjoint", "random")
    config = NetworkConfig(
        shape=(WIDTH,),
        labels=LABELS,
        hidden=(UNITS, 11),
        coding="assembly" if assembly else coding,
        assemblies=coding if assembly else "disjoint",
        threshold=1.0,
        negatives=negatives,
        seed=seed,
    )
    return Network(config, OptimizerConfig(rule=rule, rate=rate), torch.device(device))


def make_rows(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, WIDTH, generator=seeded(seed))


def make_labels(count: int, seed: int = 2) -> Tensor:
    return torch.randint(LABELS, (count,), generator=seeded(seed))


def normalised(rows: Tensor) -> Tensor:
    """Divide by the root mean square."""
    return rows / (rows**2).mean(-1, keepdim=True).sqrt()


def plain_goodness(coding: Coding, weight: Tensor, x: Tensor, label: int) -> Tensor:
    """Return the goodness (n,) that a layer gives a label for inputs (n, i), which carry it under overlay."""
    activation = torch.einsum("ni,ui->nu", x, weight)
    if isinstance(coding, Assembly):
        return coding.temperature * (torch.relu(activation) ** 2 * coding.membership[label]).sum(-1)
    if isinstance(coding, Context):
        activation = activation + coding.top_down[label]
    return coding.temperature * (torch.relu(activation) ** 2).mean(-1)


def plain_loss(goodness: Tensor, threshold: float, phase: Phase, labels: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean loss of a layer that gives its learning rows a goodness (m, C)."""
    rows, loss = torch.arange(len(labels)), goodness.new_zeros(len(labels))
    if phase.raises:
        loss = loss + softplus(threshold - goodness[rows, labels])
    if phase.lowers:
        loss = loss + softplus(goodness[rows, negatives] - threshold)
    return loss.mean()


def written_over(rows: Tensor, label: int, labels: int) -> Tensor:
    """Write one label over the first pixels."""
    written = rows.clone()
    written[:, :labels] = 0
    written[:, label] = rows.max(-1).values
    return written


def plain_scores(network: Network, rows: Tensor) -> Tensor:
    """Return the goodness (n, layers, C), one label and one layer after another."""
    labels = network.config.labels
    columns = []
    for label in range(labels):
        x = normalised(written_over(rows, label, labels) if network.config.coding == "overlay" else rows)
        column = []
        for layer in network.layers:
            column.append(plain_goodness(layer.coding, layer.weight, x, label))
            # Layers learn one by one: what goes on is an input to the next, and no part of its loss.
            x = normalised(torch.relu(x @ layer.weight.T)).detach()
        columns.append(torch.stack(column, 1))
    return torch.stack(columns, 2)
