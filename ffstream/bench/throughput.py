"""Speed of learning sweeps, compared with backprop of the same widths, bare matrix products, and peers."""

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
from ffstream.ff.measured import dtype_of
from ffstream.ff.network import Network
from ffstream.measuring.nets import LABELS, NETS, Backprop, network_of, widths

__all__ = ["BATCHES", "NETS", "PRECISIONS", "RULES", "measure", "measure_peer"]

RULES = ("in_place", "unit", "factored", "momentum", "adam")
BATCHES = (1, 16, 64, 512)
PRECISIONS = ("float32", "bfloat16")
PEER_NET, PEER_BATCH = "784-3x1000", 16


@dataclass(frozen=True)
class Row:
    """Result for one net, batch, precision and optimizer.

    Attributes
    ----------
    samples_per_second, low, high
        Rows learned and predicted per second, in alternating wake and sleep sweeps: median and quartiles.
    backprop_samples_per_second
        Rate of backprop, eager or compiled, whichever is faster.
    ratio_to_backprop
        ``samples_per_second`` over ``backprop_samples_per_second``.
    matmul_fraction
        Share of a sweep's time that its matrix products take when nothing else runs between them.
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
    """Comparison with another implementation of Forward-Forward; both learn both signs in each step."""

    name: str
    net: str
    batch: int
    precision: str
    samples_per_second: float
    ours: float
    ratio: float


class Sweeper:
    """A network and a batch of random rows that it sweeps repeatedly; ``graphs`` sweeps as CUDA graphs on a GPU."""

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
        """Return a function that runs only the matrix products of one sweep, on prepared operands.

        They read and write the same weights as the sweep, so that both find them in the same caches.
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
    """Time every rule for one net, batch and precision, interleaved with backprop and the bare products."""
    torch.compiler.reset()  # Drop the graphs of the previous case.
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
    """Time a peer against the sweep in float32 and in this device's default precision, both signs in each step."""
    for precision in dict.fromkeys(("float32", str(dtype_of("auto", device)).removeprefix("torch."))):
        torch.compiler.reset()
        sweeper = Sweeper(PEER_NET, PEER_BATCH, precision, "in_place", (Phase.TOGETHER,), device)
        step = peer.make(widths(PEER_NET), *batch_of(PEER_NET, PEER_BATCH, device), device)
        spreads = interleave({"ours": sweeper.sweep, "theirs": step}, device)
        ours, theirs = PEER_BATCH / spreads["ours"].median, PEER_BATCH / spreads["theirs"].median
        yield PeerRow(peer.name, PEER_NET, PEER_BATCH, precision, theirs, ours, ours / theirs)
