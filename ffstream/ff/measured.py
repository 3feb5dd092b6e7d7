"""The fastest ways to multiply on this machine, measured by timing them against each other."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch

from ffstream.config.network import Precision
from ffstream.errors import ConfigError
from ffstream.ff.products import BY_INPUT, PLAIN, Plan, Way

# Environment variable that forces one way for every product.
VARIABLE = "FFSTREAM_PRODUCT"
# Numbers of rows that represent the classes of a plan.
ROWS = (8, 32, 128)
# Size of a weight matrix below which calls cost more than multiplications, and nothing is measured.
SMALL = 2**16
# Factor by which a plainer way may be slower than a less plain one and still be kept, so that noise flips nothing.
SLACK = 1.1
# Factor by which bfloat16 must beat float32, and the product that decides: rows, units, inputs.
CLEARLY, TYPICAL = 1.25, (64, 512, 512)
# Seconds to spend on timing a contender, and minimum and maximum number of rounds.
SPENT_S, LEAST, MOST = 0.005, 3, 15

K = TypeVar("K")
_PRECISIONS = ("float32", "bfloat16")


class Products:
    """Fastest ways to multiply on this machine, each measured on first use and constant from then on.

    Parameters
    ----------
    kept
        Result of ``state`` on this machine.

    Raises
    ------
    ValueError
        If ``kept`` holds anything else.
    """

    def __init__(self, kept: Mapping[str, object] | None = None) -> None:
        self._kept = {key: _checked(value) for key, value in (kept or {}).items()}

    def state(self) -> dict[str, list[str]]:
        """Return everything that was measured, in a form that JSON can hold."""
        return {key: [*value] for key, value in self._kept.items()}

    def plan(self, units: int, inputs: int, dtype: torch.dtype, device: torch.device) -> Plan:
        """Return the plan for multiplying rows with weights (units, inputs).

        Raises
        ------
        ConfigError
            If the environment forces an unknown way.
        """
        if device.type != "cpu":
            return PLAIN
        if forced := os.environ.get(VARIABLE):
            if forced not in [*Way]:
                raise ConfigError(f"{VARIABLE}: {forced!r} is not a way to multiply; use one of {', '.join(Way)}")
            return Plan(*[Way(forced)] * 3)
        if units * inputs < SMALL:
            return PLAIN
        return Plan(*map(Way, self._find(f"{units}x{inputs} {_name(dtype)}", lambda: _fastest(units, inputs, dtype))))

    def dtype(self, precision: Precision, device: torch.device) -> torch.dtype:
        """Return the type that a precision names; ``auto`` is bfloat16 if the device multiplies it clearly faster."""
        if precision != "auto":
            half = precision == "bfloat16"
        elif device.type == "cuda":
            half = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            half = self._find("precision", _faster_precision) == ("bfloat16",)
        return torch.bfloat16 if half else torch.float32

    def _find(self, what: str, measure: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        key = f"{what}, {torch.get_num_threads()} threads"
        if key not in self._kept:
            self._kept[key] = measure()
        return self._kept[key]


# Default for all networks, so that two of them in one process multiply alike.
PRODUCTS = Products()


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type that a precision names in this process; see ``Products.dtype``."""
    return PRODUCTS.dtype(precision, device)


def machine() -> str:
    """Return what decides the speed of a product besides its shape: processor, instruction set in use, and torch."""
    able = torch.cpu.get_capabilities()
    # The number of cores does not matter to one product, and a container may get more or fewer.
    facts = sorted((name, value) for name, value in able.items() if not name.startswith("num_"))
    used = [torch.backends.cpu.get_cpu_capability(), os.environ.get("ONEDNN_MAX_CPU_ISA", "")]
    digest = zlib.crc32(repr((facts, used)).encode())
    return f"{able.get('cpu_name', 'unknown')}, {used[0]}, torch {torch.__version__}, {digest:08x}"


def _fastest(units: int, inputs: int, dtype: torch.dtype) -> Plan:
    """Time every way for every class of row counts, and return the fastest plan."""
    weight = torch.ones(units, inputs, dtype=dtype)
    laid = {way: way.arrange(weight) for way in Way}
    spent = [
        _race({way: partial(way.multiply, torch.ones(rows, inputs, dtype=dtype), laid[way]) for way in Way})
        for rows in ROWS
    ]
    mixed = Plan(*[_plainest({way: times[way] for way in Way if way is not Way.LINEAR_BY_INPUT}) for times in spent])

    def relative(plan: Plan) -> float:
        """Return the time relative to the plainest plan, averaged over the classes."""
        return sum(times[way] / times[Way.LINEAR] for way, times in zip(plan, spent, strict=True)) / len(spent)

    return _plainest({plan: relative(plan) for plan in (PLAIN, BY_INPUT, mixed)})


def _faster_precision() -> tuple[str, ...]:
    rows, units, inputs = TYPICAL
    spent = {}
    for name in _PRECISIONS:
        dtype = getattr(torch, name)
        x, weight = torch.ones(rows, inputs, dtype=dtype), torch.ones(units, inputs, dtype=dtype)
        for way in (Way.LINEAR, Way.ONEDNN):
            spent[name, way] = partial(way.multiply, x, weight)
    taken = _race(spent)
    exact, half = (min(taken[name, way] for way in (Way.LINEAR, Way.ONEDNN)) for name in _PRECISIONS)
    return ("bfloat16",) if half * CLEARLY < exact else ("float32",)


def _plainest(spent: Mapping[K, float]) -> K:
    """Return the fastest contender, or an earlier, plainer one that takes little longer."""
    found, *others = spent
    for other in others:
        if spent[other] * SLACK < spent[found]:
            found = other
    return found


def _race(contenders: Mapping[K, Callable[[], object]]) -> dict[K, float]:
    """Time contenders in turns, and return the shortest time of each: other load can only make a call longer."""
    # The first call of a shape creates its kernel.
    for call in contenders.values():
        call()
    spent = {name: _seconds(call) for name, call in contenders.items()}
    for _ in range(max(LEAST, min(MOST, round(SPENT_S / min(spent.values()))))):
        for name, call in contenders.items():
            spent[name] = min(spent[name], _seconds(call))
    return spent


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _checked(value: object) -> tuple[str, ...]:
    """Return the names of a plan's ways or of a precision; raise ValueError for anything else."""
    known: set[str] = {*Way}
    if isinstance(value, list):
        if len(value) == len(ROWS) and known.issuperset(value):
            return tuple(value)
        if len(value) == 1 and value[0] in _PRECISIONS:
            return (value[0],)
    raise ValueError(f"neither ways of multiplying nor a precision: {value!r}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
