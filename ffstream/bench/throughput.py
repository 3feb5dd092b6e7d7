"""Learning sweeps a second, beside backprop of the same widths, beside the bare products, beside peers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ffstream.bench.peers import Peer
from ffstream.bench.timing import interleave
from ffstream.config import OptimizerConfig
from ffstream.ff.captured import Captured
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network
from ffstream.ff.products import dtype_of
from ffstream.measuring.nets import LABELS, NETS, Backprop, network_of, widths

__all__ = ["BATCHES", "NETS", "PRECISIONS", "RULES", "measure", "measure_peer"]

RULES = ("in_place", "unit", "factored", "momentum", "adam")
BATCHES = (1, 16, 64, 512)
PRECISIONS = ("float32", "bfloat16")
PEER_NET, PEER_BATCH = "784-3x1000", 16


@dataclass(frozen=True)
class Row:
    """One net, batch, precision and optimizer.

    Attributes
    ----------
    samples_per_second, low, high
        Rows that a sweep learns and predicts a second, sweeps awake and asleep in turns: median and quartiles.
    backprop_samples_per_second
        Of the faster of eager and compiled.
    ratio_to_backprop
        The first over the second.
    matmul_fraction
        The share of a sweep that its own matrix products take when nothing else runs between them.
    """

    net: str
    batch: int
    precision: str
    optimizer: str
    samples_per_second: float
    low: float
    high: float
    backprop_samples_per_second: float
    backprop_eager: float
    backprop_compiled: float
    ratio_to_backprop: float
    matmul_fraction: float


@dataclass(frozen=True)
class PeerRow:
    """Another implementation of Forward-Forward, both learning both signs in each step."""

    name: str
    net: str
    batch: int
    precision: str
    samples_per_second: float
    ours: float
    ratio: float


class Sweeper:
    """A network and a batch of random rows, swept again and again; on a GPU as CUDA graphs, where asked for."""

    def __init__(
        self,
        net: str,
        batch: int,
        precision: str,
        rule: str,
        phases: Sequence[Phase],
        device: torch.device,
        *,
        graphs: bool = False,
    ) -> None:
        self.device = device
        rate = OptimizerConfig().rate if rule == "in_place" else 1e-5
        self.network = Network(
            network_of(net, precision=precision), OptimizerConfig.model_validate({"rule": rule, "rate": rate}), device
        )
        self.network.fuse(batch, phases)
        self.rows, self.labels = batch_of(net, batch, device)
        self._generator = torch.Generator(device).manual_seed(0)
        self._phases = itertools.cycle(phases)
        self._sweep = Captured(self.network).sweep if graphs else self.network.sweep

    def sweep(self) -> None:
        """Learn the batch once."""
        self._sweep(self.rows, Lesson(self.labels, next(self._phases)), self._generator)

    def products(self) -> Callable[[], None]:
        """Return the matrix products of one sweep and nothing else, on operands that are ready.

        They read and write the weights that the sweep does, so that both find them in the same caches.
        """
        calls: list[Callable[[], object]] = []
        targets = self.labels.unsqueeze(1)
        for layer in self.network.layers:
            units, inputs = layer.weight.shape
            x = torch.randn(len(self.rows), inputs, device=self.device).to(self.network.dtype)
            # So small that no weight changes.
            delta = (1e-20 * torch.randn(len(self.rows), units, device=self.device)).to(self.network.dtype)
            calls.append(partial(layer.connection.forward, x.unsqueeze(1)))
            blocks = layer.form.coding.blocks(targets, x)
            parts = blocks.cut(delta, x) if blocks else [(slice(None), delta, x)]
            calls.extend(partial(layer.weight[units].addmm_, left.T, right) for units, left, right in parts)

        def run() -> None:
            for call in calls:
                call()

        return run


def batch_of(net: str, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw rows (batch, i) in 0 … 1 and labels (batch,)."""
    generator = torch.Generator().manual_seed(batch)
    rows = torch.rand(batch, widths(net)[0], generator=generator)
    return rows.to(device), torch.randint(LABELS, (batch,), generator=generator).to(device)


def measure(net: str, batch: int, precision: str, rules: Sequence[str], device: torch.device) -> list[Row]:
    """Time every rule at one net, batch and precision, with backprop and the bare products in the same turns."""
    torch._dynamo.reset()  # noqa: SLF001  has no public name; graphs of the last case would only be in the way
    sweepers = {rule: Sweeper(net, batch, precision, rule, (Phase.WAKE, Phase.SLEEP), device) for rule in rules}
    dtype = next(iter(sweepers.values())).network.dtype
    rows, labels = batch_of(net, batch, device)
    backprop = {name: Backprop(net, dtype, device, compiled=name == "compiled") for name in ("eager", "compiled")}
    contenders: dict[str, Callable[[], object]] = {rule: sweeper.sweep for rule, sweeper in sweepers.items()}
    contenders |= {name: partial(model.step, rows, labels) for name, model in backprop.items()}
    contenders["products"] = next(iter(sweepers.values())).products()
    spreads = interleave(contenders, device)
    eager, compiled = batch / spreads["eager"].median, batch / spreads["compiled"].median
    return [
        Row(
            net=net,
            batch=batch,
            precision=precision,
            optimizer=rule,
            samples_per_second=batch / spreads[rule].median,
            low=batch / spreads[rule].high,
            high=batch / spreads[rule].low,
            backprop_samples_per_second=max(eager, compiled),
            backprop_eager=eager,
            backprop_compiled=compiled,
            ratio_to_backprop=batch / spreads[rule].median / max(eager, compiled),
            matmul_fraction=spreads["products"].median / spreads[rule].median,
        )
        for rule in rules
    ]


def measure_peer(peer: Peer, device: torch.device) -> Iterator[PeerRow]:
    """Time a peer against the sweep in the default precision of this device and in float32, both signs in a step."""
    for precision in dict.fromkeys(("float32", str(dtype_of("auto", device)).removeprefix("torch."))):
        torch._dynamo.reset()  # noqa: SLF001  has no public name
        sweeper = Sweeper(PEER_NET, PEER_BATCH, precision, "in_place", (Phase.TOGETHER,), device)
        step = peer.make(widths(PEER_NET), *batch_of(PEER_NET, PEER_BATCH, device), device)
        spreads = interleave({"ours": sweeper.sweep, "theirs": step}, device)
        ours, theirs = PEER_BATCH / spreads["ours"].median, PEER_BATCH / spreads["theirs"].median
        yield PeerRow(peer.name, PEER_NET, PEER_BATCH, precision, theirs, ours, ours / theirs)
