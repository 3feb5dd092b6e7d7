"""The work between a layer's two products, compiled into one pass over the activations.

What is compiled is ``ffstream.ff.judging.judge`` and ``enter`` themselves, so the readable path and the fast one are
one text. Rows are a dynamic dimension: one row and several rows are compiled once each, before the first sample, and
nothing is compiled again whatever rows a sweep brings.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.nn import functional

from ffstream.ff.connections import Dense
from ffstream.ff.judging import Kernels, enter, judge
from ffstream.ff.lesson import Phase, Teaching

if TYPE_CHECKING:
    from ffstream.ff.network import Network

log = logging.getLogger(__name__)

# Graphs kept of one function: torch's own limit is sized for a training script, a network of many widths needs more.
GRAPHS = 256
# Weights of a layer from which on 16 to 64 rows are multiplied from the other side.
WIDE = 2**21


def fuse(network: Network, rows: int, phases: Iterable[Phase]) -> Kernels:
    """Compile the work between the products of a network, for lessons of some phases and sweeps of about so many rows.

    Where there is no compiler it says so, and returns the functions as they are written: the results are the same
    within rounding.
    """
    config = torch._dynamo.config  # noqa: SLF001  has no public name
    config.recompile_limit = GRAPHS
    # Rows are marked as dynamic below. Left to itself torch makes dynamic whatever differs between two calls, as the
    # number of targets between phases and the units between layers: judging 512 rows of 2000 units took 19 ms, not 0.5.
    config.automatic_dynamic_shapes = False
    # Whether a global was bound anew, a function of this package or of torch, would be asked at every call.
    options: dict[str, str | int | bool | Callable[..., Any]] = {
        "guard_filter_fn": torch.compiler.skip_guard_on_globals_unsafe
    }
    kernels = Kernels(torch.compile(judge, options=options), torch.compile(enter, options=options))
    dense = [layer.connection for layer in network.layers if isinstance(layer.connection, Dense)]
    try:
        for phase, n in itertools.product(phases, (max(rows, 2), 1)):
            _rehearse(kernels, network, phase, n)
    except TorchDynamoException as error:
        log.warning("sweeps run uncompiled, and slower: %s", str(error).strip().splitlines()[0])
        return Kernels()
    for connection in dense:
        connection.multiply = _multiply
    return kernels


def _rehearse(kernels: Kernels, network: Network, phase: Phase, n: int) -> None:
    """Run each kernel once on n rows of zeros that teach nothing; no state of the network changes."""

    def blank(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        tensor = torch.zeros(n, *shape, dtype=dtype, device=network.device)
        if n > 1:
            torch._dynamo.mark_dynamic(tensor, 0)  # noqa: SLF001  has no public name
        return tensor

    paths = network.paths
    signs = blank(1) if network.config.corruption and phase is Phase.TOGETHER else network.signs(phase)
    teaching = Teaching(blank(1, dtype=torch.int64), signs, blank(1))
    x = blank(paths, network.config.width)
    kernels.enter(x, network.centre, teaching.weight)
    for layer, trust in zip(network.layers, network.trust, strict=True):
        if not layer.compiles:
            continue
        if isinstance(layer.connection, Dense):
            _multiply(blank(paths, layer.weight.shape[1], dtype=network.dtype), layer.weight)
        activation = blank(paths, layer.form.grid.size, dtype=network.dtype)
        kernels.judge(
            layer.form, activation, blank(layer.form.labels), trust, blank(layer.form.labels), teaching, layer.running
        )


def _multiply(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply inputs (n, p, i) with weights (u, i), in the way that is fastest for so many rows."""
    if x.is_cuda:
        return x @ weight.T
    rows = x.flatten(0, 1)
    if len(rows) == 1:
        return _multiply_one(x, weight)
    # torch gives float32 to MKL, which uses half of the vector width of an AMD processor; oneDNN uses all of it.
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # has no annotations
    dot = _onednn if onednn and weight.dtype == torch.float32 else functional.linear
    if 16 <= len(rows) <= 64 and weight.numel() >= WIDE:
        # The weights from the left take 6/10 to 9/10 of the time, and what comes out must be turned.
        product = dot(weight, rows).T.contiguous()
    else:
        product = dot(rows, weight)
    return product.view(*x.shape[:2], len(weight))


def _onednn(rows: Tensor, weight: Tensor) -> Tensor:
    """Multiply rows (n, i) with weights (u, i) by the kernel that torch's own compiler uses for a linear layer."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")  # noqa: SLF001  no public name
    return product


@torch.compile
def _multiply_one(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply one row (1, 1, i), at the speed at which the weights can be read; a BLAS takes 2 to 3 times as long."""
    return (weight.float() * x.float()[0]).sum(1).to(x.dtype).view(1, 1, -1)
