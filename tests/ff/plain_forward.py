"""The forward pass by plain formula, apart from the source, and the small networks that the tests use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from plain_layer import PlainLayer, levels, normalised
from torch import Tensor

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.building import make_layers
from ffstream.ff.layers import Layer
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.measured import PRODUCTS
from ffstream.ff.network import Network
from ffstream.ff.scores import Scores

PHASES = tuple(Phase)
RULES = ("in_place", "unit", "factored", "momentum", "adam")
# Two units of each layer are left over by the disjoint assemblies.
WIDTH, UNITS, LABELS, TEMPERATURE = 9, 14, 4, 3.0

UNLABELLED = {"coding": "none", "negatives": "shuffled", "readout": "all", "prediction": "readout"}
IMAGE_LAYERS = (
    {"kind": "convolution", "units": 6, "kernel": 2, "padding": 1, "pool": 2, "regions": 2},
    {"kind": "local", "units": 5, "kernel": 2, "goodness": "topk", "top_share": 0.5},
)
# A coding is called by the name of its assemblies where it has them: ``disjoint`` and ``random`` are both assembly.
CODED: dict[str, dict[str, Any]] = {
    "disjoint": {"coding": "assembly", "assemblies": "disjoint"},
    "random": {"coding": "assembly", "assemblies": "random"},
    "context": {"coding": "context"},
    "overlay": {"coding": "overlay"},
    "learned": {"coding": "assembly", "assemblies": "learned"},
    "none": UNLABELLED,
}
CODINGS = ("disjoint", "random", "context", "overlay", "learned")
# Networks that between them have each option.
OPTIONS: dict[str, dict[str, Any]] = {
    "images": {**CODED["disjoint"], "shape": (3, 3), "layers": IMAGE_LAYERS, "activation": "leaky_relu"},
    "overlaid images": {
        **CODED["overlay"],
        "shape": (3, 3),
        "layers": IMAGE_LAYERS,
        "against": "labels",
        "readout": "upper",
    },
    "channels": {
        **CODED["random"],
        "shape": (3, 1, 3),
        "layers": IMAGE_LAYERS[:1],
        "against": "labels",
        "smoothing": 0.2,
    },
    "against labels": {**CODED["context"], "against": "labels", "activation": "gelu", "peer": 0.1},
    "running": {**CODED["random"], "threshold": "running", "goodness": "ratio", "peer": 0.1, "activation": "softplus"},
    "by width": {**CODED["learned"], "temperature": "width", "threshold": "width", "goodness": "mean"},
    "minimised": {**CODED["overlay"], "goodness": "minimised", "activation": "tanh", "centring": False},
    "held": {**CODED["disjoint"], "homeostasis": True, "activation": "squared_relu", "readout": "all"},
    "upper": {**CODED["context"], "prediction": "upper_goodness", "threshold": "running", "goodness": "topk"},
}
NETWORKS = (*CODINGS, *OPTIONS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """Make new tensors float64 for a while."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def configure(name: str, **network: Any) -> NetworkConfig:
    """Configure a network of two layers by its name among codings or options, with some keys changed."""
    values = {
        "shape": (WIDTH,),
        "labels": LABELS,
        "hidden": (UNITS, UNITS),
        "temperature": TEMPERATURE,
        "threshold": 1.0,
        "precision": "float32",
        **{**CODED, **OPTIONS}[name],
        **network,
    }
    return NetworkConfig(**values)


def make_layer(name: str, **network: Any) -> Layer:
    """Make the first layer of a network in float64, none of whose running means is zero."""
    with float64():
        config, cpu = configure(name, **network), torch.device("cpu")
        layer = make_layers(config, OptimizerConfig(), cpu, torch.float64, PRODUCTS)[0]
    generator = seeded(7)
    layer.running.centre.uniform_(0, 0.5, generator=generator)
    layer.running.activity.uniform_(0, 2, generator=generator)
    layer.running.thresholds.add_(torch.tensor([0.5, -0.25]))
    for learned in layer.form.coding.parameters().values():
        learned.add_(torch.randn(learned.shape, generator=generator, dtype=learned.dtype) / 4)
    return layer


def make_network(
    name: str,
    rule: str = "in_place",
    *,
    device: str = "cpu",
    rate: float = 0.01,
    rounding: str = "nearest",
    **network: Any,
) -> Network:
    """Make a network, float32 unless told otherwise."""
    optimizer = OptimizerConfig(rule=rule, rate=rate, rounding=rounding)
    return Network(configure(name, **network), optimizer, torch.device(device))


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


def plain_negative(logits: list[float], label: int, noise: list[float]) -> int:
    """Return the wrong label with the largest logit, each less the logarithm of its noise."""
    wrong = [c for c in range(len(logits)) if c != label]
    return max(wrong, key=lambda c: logits[c] - float(torch.tensor(noise[c]).log()))


def written_over(rows: Tensor, label: int | None, labels: int) -> Tensor:
    """Write one label over the first pixels, or all labels in equal parts."""
    written, brightest = rows.clone(), rows.max(-1).values
    written[:, :labels] = 0 if label is not None else brightest.unsqueeze(1) / labels
    if label is not None:
        written[:, label] = brightest
    return written


def plain_layers(network: Network) -> list[PlainLayer]:
    return [PlainLayer(network.config, depth, layer.state()) for depth, layer in enumerate(network.layers)]


def plain_inputs(network: Network, rows: Tensor, label: int | None) -> list[Tensor]:
    """Return what the path of a label, or the neutral one, brings to each layer, and last what leaves the last one."""
    config = network.config
    x = written_over(rows, label, config.labels) if config.coding == "overlay" else rows
    if config.stack[0].kind != "dense":
        channels = levels(config)[0][0][0]
        x = x.view(len(x), channels, -1).transpose(1, 2).flatten(1)
    inputs = [normalised(x) - network.centre if config.centring else normalised(x)]
    for layer in plain_layers(network):
        # Layers learn one by one: what goes on is an input to the next, and no part of its loss.
        inputs.append(layer.onward(inputs[-1]).detach())
    return inputs


def plain_scores(network: Network, rows: Tensor) -> Tensor:
    """Return the goodness (n, layers, C), one label and one layer after another, each its mean over regions."""
    paths = [plain_inputs(network, rows, label) for label in range(network.config.labels)]
    columns = [
        torch.stack([layer.goodness(paths[c][depth], c).mean(1) for c in range(layer.labels)], 1)
        for depth, layer in enumerate(plain_layers(network))
    ]
    return torch.stack(columns, 1)


def plain_activities(network: Network, rows: Tensor) -> Tensor:
    """Return what a read-out reads of rows, (n, activities) of all layers that it reads, one after another."""
    first = 1 + (network.config.readout == "upper")
    return torch.cat(plain_inputs(network, rows, None)[first:], 1)
