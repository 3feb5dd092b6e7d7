"""Names of torch that are not public, each behind a guard: a torch that lacks one is slower and does not break."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# Graphs that torch keeps of one function. Its own limit suits a training script; a network of many widths needs more.
GRAPHS = 256


def onednn_linear(rows: Tensor, weight: Tensor) -> Tensor:
    """Multiply rows (n, i) with weights (u, i) by oneDNN where torch has it, else as torch does; (n, u)."""
    # Other types go to oneDNN by themselves where the processor can; where it cannot, oneDNN raises.
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
    """Return what torch compiled of a function and called last, to be called without torch's checks, if it tells."""
    try:
        from torch._C._dynamo.eval_frame import _debug_get_cache_entry_list  # noqa: PLC0415  torch may lack it

        # torch keeps the entry that it used last in front.
        code = _debug_get_cache_entry_list(loop.__code__)[0].code
    except (ImportError, AttributeError, IndexError, TypeError):
        return None
    return FunctionType(code, loop.__globals__)


def mark_dynamic(tensor: Tensor, dimension: int) -> None:
    """Have torch compile for any size of a dimension; without that torch finds out when a second size comes."""
    mark = getattr(torch._dynamo, "mark_dynamic", None)  # noqa: SLF001  no public name
    if mark is not None:
        mark(tensor, dimension)


def prepare_compiler() -> None:
    """Have torch keep enough graphs, and make no dimension dynamic that is not marked.

    Left to itself torch makes dynamic whatever differs between two calls, as the number of targets between phases and
    the units between layers: judging 512 rows of 2000 units took 19 ms, not 0.5.

    Raises
    ------
    OSError
        If the folder of compiled code cannot be made; torch makes it when its compiler is loaded.
    """
    config = torch._dynamo.config  # noqa: SLF001  no public name
    for name, value in (("recompile_limit", GRAPHS), ("automatic_dynamic_shapes", False)):
        if hasattr(config, name):
            setattr(config, name, value)


def compile_in_one_thread() -> None:
    """Have this process compile by itself: torch would start a pool of processes, one a core."""
    from torch._inductor import config  # noqa: PLC0415  loads the compiler

    if hasattr(config, "compile_threads"):
        config.compile_threads = 1
