"""Private APIs of torch, each behind a guard: a torch that lacks one is slower but does not break."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Graphs that torch keeps per function. Its default suits a training script; a network of many widths needs more.
GRAPHS = 256


def onednn_linear(rows: Tensor, weight: Tensor) -> Tensor:
    """Multiply rows (n, i) with weights (u, i) through oneDNN if torch has it, else through torch; (n, u)."""
    # torch passes other types to oneDNN itself if the processor supports them; if not, oneDNN raises.
    if _onednn is None or weight.dtype != torch.float32:
        return functional.linear(rows, weight)
    return _onednn(rows, weight)


def _find_onednn() -> Callable[[Tensor, Tensor], Tensor] | None:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # has no annotations
        return None
    one = torch.ones(1, 1)
    try:
        operator = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001  no public name
        found = operator(one, one, None, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return None
    return (lambda rows, weight: operator(rows, weight, None, "none", [], "")) if torch.equal(found, one) else None


_onednn = _find_onednn()


def last_graph(loop: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return a function's graph that torch called last, callable without torch's checks; ``None`` if unavailable."""
    try:
        from torch._C._dynamo.eval_frame import _debug_get_cache_entry_list  # noqa: PLC0415  torch may lack it

        # torch keeps the most recently used entry first.
        code = _debug_get_cache_entry_list(loop.__code__)[0].code
    except (ImportError, AttributeError, IndexError, TypeError):
        return None
    return FunctionType(code, loop.__globals__)


def mark_dynamic(tensor: Tensor, dimension: int) -> None:
    """Have torch compile for any size of a dimension; otherwise torch finds out when a second size comes."""
    mark = getattr(torch._dynamo, "mark_dynamic", None)  # noqa: SLF001  no public name
    if mark is not None:
        mark(tensor, dimension)


def prepare_compiler() -> None:
    """Have torch keep enough graphs, and make only marked dimensions dynamic.

    By default torch makes everything dynamic that differs between two calls, such as the number of targets between
    phases and the number of units between layers: judging 512 rows of 2000 units then took 19 ms instead of 0.5.

    Raises
    ------
    OSError
        If the folder of compiled code cannot be created; torch creates it when its compiler is loaded.
    """
    config = torch._dynamo.config  # noqa: SLF001  no public name
    for name, value in (("recompile_limit", GRAPHS), ("automatic_dynamic_shapes", False)):
        if hasattr(config, name):
            setattr(config, name, value)


def compile_in_one_thread() -> None:
    """Have this process compile by itself; by default torch starts a pool of processes, one per core."""
    from torch._inductor import config  # noqa: PLC0415  loads the compiler

    if hasattr(config, "compile_threads"):
        config.compile_threads = 1
