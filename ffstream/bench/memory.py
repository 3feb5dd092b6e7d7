"""Peak memory of a learning step beyond weights and optimizer state, by depth of the network.

Forward-Forward keeps one layer's activations at a time, so depth costs nothing. Backprop keeps every layer's until
the backward pass; activation checkpointing keeps some and recomputes the others.
"""

from __future__ import annotations

import gc
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint_sequential

from ffstream.config import OptimizerConfig
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network
from ffstream.measuring.nets import Backprop, network_of

DEPTHS = (4, 16, 64)
WIDTH = 1000
BATCH = 256
METHODS = ("ffstream", "backprop", "backprop, checkpointed")


@dataclass(frozen=True)
class Row:
    """Peak bytes of one method at one depth, beyond those held between two steps."""

    method: str
    layers: int
    width: int
    batch: int
    peak_bytes: int


def measure(method: str, layers: int, device: torch.device) -> Row:
    """Measure the peak memory of one learning step."""
    step = _step(method, layers, device)
    for _ in range(2):
        step()
    gc.collect()
    return Row(method, layers, WIDTH, BATCH, _peak(step, device))


def _step(method: str, layers: int, device: torch.device) -> Callable[[], object]:
    net = f"{WIDTH}-{layers}x{WIDTH}"
    rows, labels = torch.rand(BATCH, WIDTH, device=device), torch.zeros(BATCH, dtype=torch.int64, device=device)
    if method == "ffstream":
        network = Network(network_of(net, precision="float32"), OptimizerConfig(), device)
        network.fuse(BATCH, (Phase.WAKE,))
        return lambda: network.sweep(rows, Lesson(labels, Phase.WAKE))
    model = Backprop(net, torch.float32, device, compiled=False)
    return (lambda: model.step(rows, labels)) if method == "backprop" else _checkpointed(model, rows, labels)


def _checkpointed(model: Backprop, rows: Tensor, labels: Tensor) -> Callable[[], object]:
    """Return a step in sqrt(depth) checkpointed segments, as Chen et al. 2016 (arXiv 1604.06174) advise."""
    segments = max(1, math.isqrt(len(model.model) // 2))

    def step() -> None:
        model.optimizer.zero_grad()
        logits = checkpoint_sequential(model.model, segments, rows, use_reentrant=False)  # type: ignore[no-untyped-call]  # has no annotations
        functional.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]  # the same
        model.optimizer.step()

    return step


def _peak(step: Callable[[], object], device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    # On a CPU the profiler sees every allocation, including those of compiled kernels.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    allocated = peak = 0
    for event in sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: float(e["ts"])):
        allocated += int(event["args"]["Bytes"])
        peak = max(peak, allocated)
    return peak
