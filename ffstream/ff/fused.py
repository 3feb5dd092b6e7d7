"""The loop through the layers, compiled: one call for some layers, and about two passes over each one's activations.

What is compiled is ``ffstream.ff.flow`` itself, so the readable path and the fast one are one text. Rows are a dynamic
dimension: one row and several rows are compiled once each, before the first sample, and nothing is compiled
again whatever rows a sweep brings.
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
from ffstream.ff.flow import Passed, flow, read
from ffstream.ff.lesson import Phase, Teaching
from ffstream.ff.products import multiply

if TYPE_CHECKING:
    from ffstream.ff.network import Network

log = logging.getLogger(__name__)

# Graphs kept of one function: torch's own limit is sized for a training script, a network of many widths needs more.
GRAPHS = 256


def fuse(network: Network, rows: int, phases: Iterable[Phase]) -> tuple[Callable[..., Passed], Callable[..., Passed]]:
    """Compile the loops through the layers of a network, for lessons of some phases and sweeps of about so many rows.

    Where there is no compiler it says so, and returns ``flow`` and ``read`` as they are written: the results are the
    same within rounding.
    """
    config = torch._dynamo.config  # noqa: SLF001  has no public name
    config.recompile_limit = GRAPHS
    # Rows are marked as dynamic below. Left to itself torch makes dynamic whatever differs between two calls, as the
    # number of targets between phases and the units between layers: judging 512 rows of 2000 units took 19 ms, not 0.5.
    config.automatic_dynamic_shapes = False
    options: dict[str, str | int | bool | Callable[..., Any]] = {
        # Whether a global was bound anew, a function of this package or of torch, would be asked at every call.
        "guard_filter_fn": torch.compiler.skip_guard_on_globals_unsafe,
        # What one layer sends on in bfloat16 the next would take unrounded, and its update rounded.
        "emulate_precision_casts": True,
    }
    compiled, reader = (torch.compile(loop, fullgraph=True, options=options) for loop in (flow, read))
    try:
        lessons = [*phases] if network.looks_up else [*phases, None]
        for phase, n in itertools.product(lessons, (max(rows, 2), 1)):
            _rehearse(compiled, reader, network, phase, n)
    except TorchDynamoException as error:
        log.warning("sweeps run uncompiled, and slower: %s", str(error).strip().splitlines()[0])
        return flow, read
    for layer in network.layers:
        if isinstance(layer.connection, Dense):
            layer.connection.multiply = multiply
    return compiled, reader


def _rehearse(
    flow: Callable[..., Passed], read: Callable[..., Passed], network: Network, phase: Phase | None, n: int
) -> None:
    """Send n rows of zeros that teach nothing through all that is compiled, as a lesson of a phase or as queries.

    No state of the network changes.
    """

    def blank(*shape: int, rows: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        shape = (*shape[:rows], n, *shape[rows:])
        tensor = torch.zeros(shape, dtype=dtype, device=network.device)
        if n > 1:
            torch._dynamo.mark_dynamic(tensor, rows)  # noqa: SLF001  has no public name
        return tensor

    width, labels = network.config.width, network.layers[0].form.labels
    for span in network.spans:
        if span.compiles:
            x = blank(network.paths, width, dtype=torch.float32 if span.entry else network.dtype)
            believed = None if span.entry else blank(labels)
            if phase is None:
                read(span, x, believed)
            else:
                signs = blank(1) if network.config.corruption and phase is Phase.TOGETHER else network.signs(phase)
                teaching = Teaching(blank(1, dtype=torch.int64), signs, blank(1))
                flow(span, x, believed, blank(len(span.layers), labels, rows=1), teaching, torch.tensor(0))
        width = span.layers[-1].onward
