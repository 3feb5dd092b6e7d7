"""Profiles a few sweeps with torch's profiler: kernels, launches, gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiled

from ffstream.bench.throughput import Sweeper
from ffstream.ff.flow import flow, read
from ffstream.ff.lesson import Phase
from gpu_checking.report import Row
from gpu_checking.site import Case, Site

CASES = (Case("784-512-512", 16, "float32"), Case("784-4x2000", 512, "bfloat16"))
# Number of profiled sweeps, and of kernels reported.
SWEEPS, TOP = 10, 8


def profile(site: Site) -> Generator[Row]:
    """Profile compiled and eager sweeps; the traces open in Perfetto or chrome://tracing."""
    for case in site.cases if site.dry else CASES:
        torch._dynamo.reset()  # noqa: SLF001  has no public name
        sweeper = Sweeper(*case, "in_place", (Phase.WAKE, Phase.SLEEP), site.device)
        if sweeper.network.flow is flow:
            yield Row(f"{case}, compiled", {"compiled": False})
        else:
            yield from _rows(f"{case}, compiled", _events(site, sweeper, f"{case.net}-{case.batch}-compiled"))
        sweeper.network.flow, sweeper.network.read = flow, read
        yield from _rows(f"{case}, eager", _events(site, sweeper, f"{case.net}-{case.batch}-eager"))


def _events(site: Site, sweeper: Sweeper, name: str) -> list[FunctionEvent]:
    """Profile some sweeps, write the trace, and return its events."""
    on_gpu = site.device.type == "cuda"
    for _ in range(SWEEPS):
        sweeper.sweep()
    if on_gpu:
        torch.cuda.synchronize(site.device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profiled(activities=activities) as seen:
        for _ in range(SWEEPS):
            sweeper.sweep()
        if on_gpu:
            torch.cuda.synchronize(site.device)
    seen.export_chrome_trace(str(site.out / f"trace-{name}.json.gz"))
    return list(seen.events())


def _rows(case: str, events: Sequence[FunctionEvent]) -> Generator[Row]:
    """Report how the device's time was spent, and the kernels that took the most of it.

    On a CPU, the outermost operators are used in place of kernels.
    """
    kernels = [e for e in events if e.device_type.name == "CUDA" and not e.is_user_annotation]
    if not kernels:
        kernels = [e for e in events if e.cpu_parent is None]
    launches = sum("Launch" in event.name and event.name.startswith("cu") for event in events)
    busy, gaps = _busy_and_gaps(kernels)
    total = busy + sum(gaps)
    yield Row(
        case,
        {
            "sweep_us": total / SWEEPS,
            "busy_us": busy / SWEEPS,
            "busy_share": busy / total,
            "largest_gap_us": max(gaps, default=0.0),
            "kernels": len(kernels) / SWEEPS,
            "launches": launches / SWEEPS,
        },
    )
    spent: Counter[str] = Counter()
    for kernel in kernels:
        spent[kernel.name] += kernel.time_range.end - kernel.time_range.start
    calls = Counter(kernel.name for kernel in kernels)
    for name, took in spent.most_common(TOP):
        yield Row(f"  {name[:80]}", {"us": took / SWEEPS, "share": took / total, "calls": calls[name] / SWEEPS})


def _busy_and_gaps(kernels: Sequence[FunctionEvent]) -> tuple[float, list[float]]:
    """Return the microseconds during which any kernel ran, and the gaps between kernels."""
    ranges = sorted((kernel.time_range.start, kernel.time_range.end) for kernel in kernels)
    busy, gaps, until = 0.0, [], ranges[0][0]
    for start, end in ranges:
        if start > until:
            gaps.append(start - until)
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy, gaps
