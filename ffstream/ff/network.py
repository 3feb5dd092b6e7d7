"""The network, and the one loop that predicts and learns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config import NetworkConfig, OptimizerConfig, Precision
from ffstream.ff.fused import fuse
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
from ffstream.ff.layers import Kernels, Layer, Lesson, Phase, Teaching
from ffstream.ff.optim import make_rule
from ffstream.ff.rounding import LAYER_SEEDS, make_adder

# Rows after which a step grows no further. Below it each sample moves the weights as far whether it comes alone or in
# a batch; a sum over more rows than this would overshoot.
FULL_STEP = 64

_SIGNS = {Phase.WAKE: [1.0], Phase.SLEEP: [0.0], Phase.TOGETHER: [1.0, 0.0]}


@dataclass(frozen=True)
class Scores:
    """What a sweep found, with the weights that each layer had before its own update.

    Attributes
    ----------
    total
        (n, C): goodness of every label, summed over layers.
    goodness
        (n - m, layers, C): goodness in each layer, of the query rows.
    shown
        (m, layers, t): goodness that the lesson moved: of the true label where it rises, then of the wrong one where
        it falls.
    """

    total: Tensor
    goodness: Tensor
    shown: Tensor

    def probabilities(self) -> Tensor:
        """Return the probability of each label, softmax of goodness averaged over layers; (n, C).

        The mean, not the sum: the layers see the same row, so adding their evidence up counts it several times.
        On MNIST after one pass the mean is calibrated within 1 point, the sum within 3.
        """
        return (self.total / max(self.goodness.shape[1], 1)).softmax(-1)

    def labels(self) -> Tensor:
        """Return the label with the largest summed goodness; (n,) int64."""
        return self.total.argmax(-1)


class Network:
    """Layers that learn one after another, while the rows pass through them.

    Parameters
    ----------
    network
        Shape, label coding and precision.
    optimizer
        The rule that each layer gets.
    device
        Where the weights live.

    Attributes
    ----------
    paths
        Ways that a row takes through the layers: one a label under ``overlay`` coding, else 1.
    centre
        (i,): running mean of the normalised rows.
    trust
        What a layer's negative labels make of the goodness summed so far: its mean, or nothing.
    """

    def __init__(self, network: NetworkConfig, optimizer: OptimizerConfig, device: torch.device) -> None:
        self.config = network
        self.device = device
        self.dtype = dtype_of(network.precision, device)
        self.paths = network.labels if network.coding == "overlay" else 1
        self.kernels = Kernels()
        generator = torch.Generator().manual_seed(network.seed)
        widths = [network.width, *network.hidden]
        self.layers = [
            _layer(network, optimizer, fan_in, units, generator, device, self.dtype)
            for fan_in, units in zip(widths, network.hidden, strict=False)
        ]
        self.centre = torch.zeros(network.width, device=device)
        believes = float(network.negatives == "belief")
        self.trust = [torch.tensor(believes / depth, device=device) for depth in range(1, len(self.layers) + 1)]
        self._signs = {phase: torch.tensor(_SIGNS[phase], device=device) for phase in Phase}

    def fuse(self, rows: int, phases: Iterable[Phase]) -> None:
        """Compile what can be compiled, for lessons of some phases and sweeps of about so many rows; takes seconds."""
        self.kernels = fuse(self, rows, phases)

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
            Draws the wrong labels; needed where a lesson lowers goodness.
        """
        m = 0 if lesson is None else len(lesson.labels)
        lowers = lesson is not None and lesson.phase.lowers
        if lowers and generator is None:
            raise ValueError("a lesson that lowers goodness needs a generator to draw its wrong labels from")
        teaching = self._lay_out(lesson, len(rows))
        noise = torch.ones(len(rows), self.config.labels, device=self.device)
        # A layer leaves no more than its scores behind: memory does not grow with depth by anything as wide as a layer.
        goodness: list[Tensor] = []
        shown: list[Tensor] = []
        total = torch.zeros_like(noise)
        x = self.kernels.enter(self._paths_of(rows), self.centre, teaching.weight).to(self.dtype)
        for layer, trust in zip(self.layers, self.trust, strict=True):
            if lowers:
                noise[:m].exponential_(generator=generator)
            verdict = layer.judge(self.kernels, x, total, trust, noise, teaching)
            if m:
                layer.rule.apply(layer.gradient(verdict, x, m))
            goodness.append(verdict.goodness[m:].clone() if m else verdict.goodness)
            shown.append(verdict.shown[:m])
            x, total = verdict.onward, verdict.believed
        return Scores(total, torch.stack(goodness, 1), torch.stack(shown, 1))

    def dead_units(self, rows: Tensor) -> list[int]:
        """Count, a layer, the units that no row of (n, i) activates."""
        counts: list[int] = []
        x = normalise(self._paths_of(rows)) - self.centre
        for layer in self.layers:
            onward = layer.coding.read((x.to(self.dtype) @ layer.weight.T).float())[1]
            counts.append(int((onward <= 0).all(0).all(0).sum()))
            x = normalise(onward) - layer.centre
        return counts

    def signs(self, phase: Phase) -> Tensor:
        """Return 1 for each target of a row whose goodness a phase raises, 0 for each whose goodness it lowers."""
        return self._signs[phase]

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that a checkpoint must hold, by name; writing into them restores the network."""
        layers = {
            f"{i}.{name}": tensor for i, layer in enumerate(self.layers) for name, tensor in layer.state().items()
        }
        return {"centre": self.centre, **layers}

    def _paths_of(self, rows: Tensor) -> Tensor:
        rows = rows.unsqueeze(1)
        return rows if self.paths == 1 else write_labels(rows, self.paths)

    def _lay_out(self, lesson: Lesson | None, n: int) -> Teaching:
        if lesson is None:
            labels = torch.zeros(n, 1, dtype=torch.int64, device=self.device)
            return Teaching(labels, self._signs[Phase.WAKE], torch.zeros(n, 1, device=self.device))
        m = len(lesson.labels)
        labels, weight = lesson.labels.unsqueeze(1), torch.full((m, 1), min(1.0, FULL_STEP / m), device=self.device)
        if m < n:
            labels, weight = functional.pad(labels, (0, 0, 0, n - m)), functional.pad(weight, (0, 0, 0, n - m))
        return Teaching(labels, self._signs[lesson.phase], weight)


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type that a precision names; ``auto`` is bfloat16 where the device multiplies it natively."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001  no public name
    return torch.bfloat16 if native else torch.float32


def _layer(
    network: NetworkConfig,
    optimizer: OptimizerConfig,
    fan_in: int,
    units: int,
    generator: torch.Generator,
    device: torch.device,
    dtype: torch.dtype,
) -> Layer:
    weight = (torch.randn(units, fan_in, generator=generator) / fan_in**0.5).to(device)
    coding = _coding(network, units, generator, device)
    adder = make_adder(weight, dtype, optimizer.rounding, int(torch.randint(LAYER_SEEDS, (), generator=generator)))
    return Layer(
        adder.weight, coding, make_rule(optimizer, adder, coding.parameters().get("context")), network.threshold
    )


def _coding(network: NetworkConfig, units: int, generator: torch.Generator, device: torch.device) -> Coding:
    if network.coding == "context":
        return Context(torch.randn(network.labels, units, generator=generator).to(device), network.temperature)
    if network.coding == "overlay":
        return Overlay(network.temperature)
    if network.assemblies == "disjoint":
        membership = disjoint_assemblies(network.labels, units).to(device)
        return Assembly(membership, network.temperature, run=units // network.labels)
    membership = random_assemblies(network.labels, units, network.assembly_share, generator).to(device)
    return Assembly(membership, network.temperature)
