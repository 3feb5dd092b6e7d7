"""Timing of contenders side by side, so that other work on the machine affects all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

# A burst is long enough for the clock, and short enough that many fit. It has enough calls that the first one, which
# finds the caches as the previous contender left them, does not dominate.
BURST_S, BURST_CALLS = 0.03, 5
ROUNDS = 7


@dataclass(frozen=True)
class Spread:
    """Seconds that one call takes: the median over bursts, and the lower and upper quartile."""

    median: float
    low: float
    high: float


def interleave(contenders: Mapping[str, Callable[[], object]], device: torch.device) -> dict[str, Spread]:
    """Time the contenders in alternating bursts.

    Parameters
    ----------
    contenders
        Functions to call, by name; each is first called a few times without being timed.
    device
        Device to synchronize at the end of each burst.
    """
    calls = {name: _calls_a_burst(call, device) for name, call in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            times[name].append(_burst(call, calls[name], device))
    return {name: _spread(seconds) for name, seconds in times.items()}


def _calls_a_burst(call: Callable[[], object], device: torch.device) -> int:
    """Warm up a contender, and return the number of calls that fill a burst."""
    for _ in range(3):
        seconds = _burst(call, 1, device)
    return max(BURST_CALLS, round(BURST_S / max(seconds, 1e-6)))


def _burst(call: Callable[[], object], calls: int, device: torch.device) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - started) / calls


def _spread(seconds: list[float]) -> Spread:
    low, median, high = statistics.quantiles(seconds, n=4)
    return Spread(median, low, high)
