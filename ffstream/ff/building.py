"""Construction of layers from a configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ffstream.config import DreamsConfig, LayerConfig, NetworkConfig, OptimizerConfig
from ffstream.ff.activations import ACTIVATIONS, NEVER_NEGATIVE
from ffstream.ff.assemblies import disjoint_assemblies, random_assemblies, whole
from ffstream.ff.connections import Connection, Convolution, Dense, Field, Local
from ffstream.ff.criteria import make_criterion
from ffstream.ff.dreams import Dreams
from ffstream.ff.goodness import Goodness, make_goodness
from ffstream.ff.grid import Grid
from ffstream.ff.judging import Form, Running
from ffstream.ff.labels import Assembly, Coding, Context, LearnedAssembly, Whole
from ffstream.ff.layers import Layer
from ffstream.ff.measured import Products
from ffstream.ff.optim import make_rule
from ffstream.ff.products import PLAIN, Plan
from ffstream.ff.rounding import LAYER_SEEDS, Nearest, make_adder
from ffstream.ff.stepsize import Bound, derive_step


def make_layers(
    network: NetworkConfig, optimizer: OptimizerConfig, device: torch.device, dtype: torch.dtype, products: Products
) -> list[Layer]:
    """Make the layers that a configuration describes, with initial weights drawn from its seed."""
    generator = torch.Generator().manual_seed(network.seed)
    return [
        _layer(network, optimizer, layer, below, generator, device, dtype, products)
        for layer, below in _levels(network)
    ]


def weight_shapes(network: NetworkConfig) -> list[tuple[int, int]]:
    """Return the shape (u, i) of each layer's weights, without making them."""
    return [_weight_shape(layer, below) for layer, below in _levels(network)]


def make_dreams(network: NetworkConfig, dreams: DreamsConfig, device: torch.device) -> Dreams:
    """Make the dreams of a network, which have learned nothing yet."""
    first = network.stack[0]
    return Dreams(
        network.width,
        first.units,
        1 if network.coding == "none" else network.labels,
        never_negative=(first.activation or network.activation) in NEVER_NEGATIVE,
        noise=dreams.noise,
        rounds=dreams.rounds,
        device=device,
    )


def _levels(network: NetworkConfig) -> Iterator[tuple[LayerConfig, tuple[int, int, int]]]:
    """Yield each layer with the channels, height and width of its input."""
    below = network.image
    for layer in network.stack:
        yield layer, below
        grid = _grid(layer, below)
        below = (layer.units, grid.height // layer.pool, grid.width // layer.pool)


def _grid(layer: LayerConfig, below: tuple[int, int, int]) -> Grid:
    if layer.kind == "dense":
        return Grid(1, 1, layer.units)
    return Grid(*_field(layer, below).places, layer.units, layer.regions, layer.kind == "convolution")


def _weight_shape(layer: LayerConfig, below: tuple[int, int, int]) -> tuple[int, int]:
    fan_in = math.prod(below) if layer.kind == "dense" else _field(layer, below).inputs
    return _grid(layer, below).size if layer.kind == "local" else layer.units, fan_in


def _field(layer: LayerConfig, below: tuple[int, int, int]) -> Field:
    return Field(below, layer.kernel, layer.stride, layer.padding)


def _layer(
    network: NetworkConfig,
    optimizer: OptimizerConfig,
    layer: LayerConfig,
    below: tuple[int, int, int],
    generator: torch.Generator,
    device: torch.device,
    dtype: torch.dtype,
    products: Products,
) -> Layer:
    grid = _grid(layer, below)
    units, fan_in = _weight_shape(layer, below)
    weight = (torch.randn(units, fan_in, generator=generator) / fan_in**0.5).to(device)
    plan = products.plan(units, fan_in, dtype, device) if layer.kind == "dense" else PLAIN
    weight = plan.few.arrange(weight)
    coding = _coding(network, layer, grid, generator, device)
    adder = make_adder(weight, dtype, optimizer.rounding, int(torch.randint(LAYER_SEEDS, (), generator=generator)))
    goodness = make_goodness(
        layer.goodness or network.goodness, _counted(layer, coding, grid), layer.top_share or network.top_share
    )
    activation = ACTIVATIONS[layer.activation or network.activation]
    degree = goodness.degree * activation.degree
    # Goodness that is a higher power of the activations has more curvature, even at an activity of 1.
    steepness = goodness.steepness(coding.pool().counted()) * max(1.0, degree * (degree - 1) / 2)
    step = derive_step(network, optimizer, steepness, fan_in)
    learned = [
        make_rule(optimizer, Nearest(tensor), step.rate * optimizer.label_rate)
        for tensor in coding.parameters().values()
    ]
    form = _form(
        network, layer, coding, grid, goodness, Bound(step.crowd, step.early, degree, _counted(layer, coding, grid))
    )
    return Layer(
        _connection(layer, below, adder.weight, plan),
        form,
        make_rule(optimizer, adder, step.rate),
        learned[0] if learned else None,
        adder if network.homeostasis else None,
        _running(form, _sign(layer) * _counted(layer, coding, grid), device),
    )


def _running(form: Form, threshold: float, device: torch.device) -> Running:
    """Make the running statistics of a layer; a running threshold begins at the goodness of a mean of 1."""
    grid = form.grid
    onward = (grid.height // form.pool) * (grid.width // form.pool) * grid.units
    return Running(
        torch.zeros(grid.units if grid.alike else onward, device=device),
        torch.full((2,), 0.0 if form.threshold is not None else threshold, device=device),
        torch.zeros(grid.units if grid.alike else grid.size, device=device),
        torch.zeros(len(form.coding.pool().share), device=device),
    )


def _sign(layer: LayerConfig) -> float:
    return -1.0 if layer.goodness == "minimised" else 1.0


def _form(
    network: NetworkConfig, layer: LayerConfig, coding: Coding, grid: Grid, goodness: Goodness, bound: Bound
) -> Form:
    at_one = _counted(layer, coding, grid)
    threshold = at_one if layer.threshold == "width" else layer.threshold
    return Form(
        coding,
        ACTIVATIONS[layer.activation or network.activation],
        goodness,
        make_criterion(layer.against or network.against, network.smoothing),
        _sign(layer) * threshold if isinstance(threshold, float) else None,
        grid,
        layer.pool,
        1 if network.coding == "none" else network.labels,
        network.corruption is None,
        network.centring,
        network.peer,
        bound,
    )


def _counted(layer: LayerConfig, coding: Coding, grid: Grid) -> float:
    """Return the temperature of a layer, which is its goodness at a mean of 1."""
    if isinstance(layer.temperature, float):
        return layer.temperature
    return float(coding.pool().size * grid.region[0])


def _connection(layer: LayerConfig, below: tuple[int, int, int], weight: Tensor, plan: Plan) -> Connection:
    if layer.kind == "dense":
        return Dense(weight, plan)
    field = _field(layer, below)
    return Local(weight, field) if layer.kind == "local" else Convolution(weight, field)


def _coding(
    network: NetworkConfig, layer: LayerConfig, grid: Grid, generator: torch.Generator, device: torch.device
) -> Coding:
    labels, (_, units) = network.labels, grid.region
    if network.coding == "assembly":
        return _assembly(network, grid, generator, device)
    # Under ratio, the first half of the units are those whose share should rise with real data.
    share, size = whole(units, half=layer.goodness == "ratio")
    if network.coding == "context":
        return Context(torch.randn(labels, units, generator=generator).to(device), share.to(device), size)
    return Whole(share.to(device), size)


def _assembly(network: NetworkConfig, grid: Grid, generator: torch.Generator, device: torch.device) -> Coding:
    labels, (_, units) = network.labels, grid.region
    # With more labels than units, not every label can own a unit.
    run = 0 if network.assemblies == "random" or labels > units else units // labels
    if run:
        membership = disjoint_assemblies(labels, units)
    else:
        membership = random_assemblies(labels, units, network.assembly_share, generator)
    if network.assemblies == "learned":
        regions = max(1, grid.places if grid.regions == 0 else grid.regions**2)
        return LearnedAssembly((membership * units).repeat(1, regions).to(device), regions)
    if not run:
        return Assembly(membership.to(device), int((membership[0] > 0).sum()))
    if grid.alike:
        return Assembly(membership.to(device), run, run)
    # Assign the units of an image's places at random, so that no label owns one part of the image.
    dealt = membership[:, torch.randperm(units, generator=generator)]
    return Assembly(dealt.to(device), run)
