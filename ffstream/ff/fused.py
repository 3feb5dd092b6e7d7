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

from ffstream.ff.connections import Dense
from ffstream.ff.judging import Kernels, enter, judge
from ffstream.ff.lesson import Phase, Teaching
from ffstream.ff.products import multiply

if TYPE_CHECKING:
    from ffstream.ff.network import Network

log = logging.getLogger(__name__)

# Graphs kept of one function: torch's own limit is sized for a training script, a network of many widths needs more.
GRAPHS = 256


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
        connection.multiply = multiply
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
            multiply(blank(paths, layer.weight.shape[1], dtype=network.dtype), layer.weight)
        activation = blank(paths, layer.form.grid.size, dtype=network.dtype)
        kernels.judge(
            layer.form, activation, blank(layer.form.labels), trust, blank(layer.form.labels), teaching, layer.running
        )
