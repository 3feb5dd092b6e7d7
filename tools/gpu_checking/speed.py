"""Sweeps in process: against the limits of the card, against backprop, with CUDA graphs; and their memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator
from functools import partial

import torch

from ffstream.bench import memory as peaks
from ffstream.bench import throughput as sweeps
from ffstream.bench.throughput import Sweeper
from ffstream.bench.timing import interleave
from ffstream.ff.captured import FEW
from ffstream.ff.lesson import Phase
from gpu_checking.report import Row
from gpu_checking.site import Case, Site

PHASES = (Phase.WAKE, Phase.SLEEP)
# Number of sweeps timed one by one.
ALONE = 50


def limits(site: Site) -> Generator[Row]:
    """Compare a sweep with the time that its bytes or its products take at the rates of this card.

    A sweep reads and writes every weight once, and multiplies each weight with each row twice. Rows and activations are
    ignored: they are few compared with the weights, or stay in a cache.
    """
    bandwidth = _bandwidth(site)
    yield Row("copy", {"gb_per_s": bandwidth / 1e9})
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        rates[name] = _rate(site, dtype)
        yield Row(f"product, {name}", {"tflop_per_s": rates[name] / 1e12})
    for case in site.cases:
        sweeper = _sweeper(site, case)
        weights = [layer.weight for layer in sweeper.network.layers]
        moved_s = 2 * sum(weight.nbytes for weight in weights) / bandwidth
        multiplied_s = 4 * case.batch * sum(weight.numel() for weight in weights) / rates[case.precision]
        limit = max(moved_s, multiplied_s)
        sweep = interleave({"sweep": sweeper.sweep}, site.device)["sweep"].median
        yield Row(
            str(case),
            {
                "sweep_us": sweep * 1e6,
                "limit_us": limit * 1e6,
                "times_limit": sweep / limit,
                "limited_by": "bytes" if moved_s > multiplied_s else "products",
                "alone_us": _alone(site, sweeper.sweep) * 1e6,
            },
        )


def throughput(site: Site) -> Generator[Row]:
    """Time sweeps against backprop with Adam, as ``ffstream bench throughput`` does."""
    for case in site.cases:
        (row,) = sweeps.measure(*case, ["in_place"], site.device)
        yield Row(
            str(case),
            {
                "samples_per_s": row.samples_per_second,
                "times_backprop": row.ratio_to_backprop,
                "backprop_eager_per_s": row.backprop_eager,
                "backprop_compiled_per_s": row.backprop_compiled,
                "share_of_products": row.matmul_fraction,
            },
        )


def graphs(site: Site) -> Generator[Row]:
    """Time sweeps with and without CUDA graphs, and compare their weights."""
    for case in sorted(site.cases, key=lambda case: case.batch):
        if case.batch > FEW:
            continue
        plain, captured = _sweeper(site, case), _sweeper(site, case, graphs=True)
        compared = _difference(plain, captured)
        spreads = interleave({"plain": plain.sweep, "captured": captured.sweep}, site.device)
        yield Row(
            str(case),
            {
                "plain_us": spreads["plain"].median * 1e6,
                "captured_us": spreads["captured"].median * 1e6,
                "times_as_fast": spreads["plain"].median / spreads["captured"].median,
                "plain_alone_us": _alone(site, plain.sweep) * 1e6,
                "captured_alone_us": _alone(site, captured.sweep) * 1e6,
                "weights_differ_by": compared,
            },
        )


def memory(site: Site) -> Generator[Row]:
    """Measure the peak memory of a step by depth, as ``ffstream bench memory`` does."""
    for layers in (2,) if site.dry else (4, 16):
        for method in peaks.METHODS:
            row = peaks.measure(method, layers, site.device)
            yield Row(f"{method}, {layers} layers", {"peak_mib": row.peak_bytes / 2**20})


def _sweeper(site: Site, case: Case, *, graphs: bool = False) -> Sweeper:
    if not graphs:
        torch._dynamo.reset()  # noqa: SLF001  has no public name; drops the compiled graphs of the last case
    return Sweeper(*case, "in_place", PHASES, site.device, graphs=graphs)


def _difference(one: Sweeper, other: Sweeper) -> float:
    """Return the largest difference in weights after the same few sweeps, relative to the largest weight."""
    for _ in range(6):
        one.sweep()
        other.sweep()
    pairs = zip(one.network.layers, other.network.layers, strict=True)
    return max(float((a.weight - b.weight).abs().max() / a.weight.abs().max()) for a, b in pairs)


def _alone(site: Site, sweep: Callable[[], object]) -> float:
    """Return the median seconds of a sweep when the host waits for each one, as for a query."""
    times = []
    for _ in range(ALONE):
        began = time.perf_counter()
        sweep()
        if site.device.type == "cuda":
            torch.cuda.synchronize(site.device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _bandwidth(site: Site) -> float:
    """Return the bytes per second that a copy within the device's memory reads and writes."""
    size = 2**20 if site.dry else 2**30
    source = torch.randn(size, device=site.device)
    target = torch.empty_like(source)
    seconds = interleave({"copy": partial(target.copy_, source)}, site.device)["copy"].median
    return 2 * source.nbytes / seconds


def _rate(site: Site, dtype: torch.dtype) -> float:
    """Return the operations per second of a large matrix product of random values; a multiply-add counts as two."""
    size = 256 if site.dry else 8192
    left, right = (torch.randn(size, size, device=site.device).to(dtype) for _ in range(2))
    made = torch.empty_like(left)
    seconds = interleave({"product": lambda: torch.mm(left, right, out=made)}, site.device)["product"].median
    return 2 * size**3 / seconds
