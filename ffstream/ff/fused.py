"""The loop through the layers, compiled: one call for some layers, and about two passes over each one's activations.

What is compiled is ``ffstream.ff.flow`` itself, so the readable path and the fast one are one text. Rows are a dynamic
dimension: one row and several rows are compiled once each, before the first sample, and nothing is compiled
again whatever rows a sweep brings.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import _debug_get_cache_entry_list
from torch._dynamo.exc import TorchDynamoException

from ffstream.ff.connections import Dense
from ffstream.ff.flow import Passed, Span, flow, read
from ffstream.ff.lesson import Phase, Teaching
from ffstream.ff.products import multiply

if TYPE_CHECKING:
    from ffstream.ff.network import Network

log = logging.getLogger(__name__)

# Graphs kept of one function: torch's own limit is sized for a training script, a network of many widths needs more.
GRAPHS = 256
# Rows to which a graph of several rows serves: torch compiles some other graph beyond 2048 or 4096, by network.
MOST = 2048


class Compiled:
    """Both loops compiled, for the layers of one network.

    torch looks for the graph of a call by checking some 400 things, from the types of the layers to the number of
    threads: a tenth of a sweep over a few rows. Almost none of them can change once the layers are made. Graphs that
    were found once, in a rehearsal, are called without, for calls of the same kind (``_kind``); others have them asked.
    """

    def __init__(self) -> None:
        # What one layer sends on in bfloat16 the next would take unrounded, and its update rounded.
        options: dict[str, str | int | bool | Callable[..., object]] = {"emulate_precision_casts": True}
        self._flow, self._read = (torch.compile(loop, fullgraph=True, options=options) for loop in (flow, read))
        self._found: dict[object, Callable[..., Passed]] = {}

    def flow(
        self, span: Span, x: Tensor, believed: Tensor | None, noise: Tensor, teaching: Teaching, taught: Tensor
    ) -> Passed:
        """``ffstream.ff.flow.flow``, compiled."""
        return self._found.get(_kind(span, x, teaching), self._flow)(span, x, believed, noise, teaching, taught)

    def read(self, span: Span, x: Tensor, believed: Tensor | None) -> Passed:
        """``ffstream.ff.flow.read``, compiled."""
        return self._found.get(_kind(span, x), self._read)(span, x, believed)

    def rehearse(self, network: Network, phase: Phase | None, n: int) -> None:
        """Send n rows of zeros that teach nothing through all that is compiled, as a lesson or as queries.

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
                    self._read(span, x, believed)
                    self._found[_kind(span, x)] = _last_called(read)
                else:
                    signs = blank(1) if network.config.corruption and phase is Phase.TOGETHER else network.signs(phase)
                    teaching = Teaching(blank(1, dtype=torch.int64), signs, blank(1))
                    self._flow(span, x, believed, blank(len(span.layers), labels, rows=1), teaching, torch.tensor(0))
                    self._found[_kind(span, x, teaching)] = _last_called(flow)
            width = span.layers[-1].onward


def fuse(network: Network, rows: int, phases: Iterable[Phase]) -> tuple[Callable[..., Passed], Callable[..., Passed]]:
    """Compile the loops through the layers of a network, for lessons of some phases and sweeps of about so many rows.

    Where there is no compiler it says so, and returns ``flow`` and ``read`` as they are written: the results are the
    same within rounding.
    """
    config = torch._dynamo.config  # noqa: SLF001  has no public name
    config.recompile_limit = GRAPHS
    # Rows are marked as dynamic in a rehearsal. Left to itself torch makes dynamic whatever differs between two calls,
    # as the number of targets between phases and the units between layers: judging 512 rows of 2000 units took 19 ms,
    # not 0.5.
    config.automatic_dynamic_shapes = False
    compiled = Compiled()
    try:
        lessons = [*phases] if network.looks_up else [*phases, None]
        for phase, n in itertools.product(lessons, (max(rows, 2), 1)):
            compiled.rehearse(network, phase, n)
    except TorchDynamoException as error:
        # Its first paragraph has the cause; what follows is for those who mend torch.
        log.warning("sweeps run uncompiled, and slower: %s", " ".join(str(error).partition("\n\n")[0].split()))
        return flow, read
    for layer in network.layers:
        if isinstance(layer.connection, Dense):
            layer.connection.multiply = multiply
    return compiled.flow, compiled.read


def _kind(span: Span, x: Tensor, teaching: Teaching | None = None) -> tuple[object, ...]:
    """What may differ between two calls, so that one graph serves the one and another the other."""
    # So many rows as the others of their kind, or a number that was not rehearsed.
    rows = min(len(x), 2) if len(x) <= MOST else len(x)
    kind = span.layers[0], rows, x.shape[1], x.dtype, x.device, x.is_contiguous()
    if teaching is None:
        return kind
    signs = teaching.signs.shape
    return *kind, signs[0] == 1, signs[1], teaching.labels.dtype, teaching.labels.is_contiguous()


def _last_called(loop: Callable[..., Passed]) -> Callable[..., Passed]:
    """Return what torch made of a loop and called last, which it keeps in front; the loop where it compiles nothing."""
    entries = _debug_get_cache_entry_list(loop.__code__)
    return FunctionType(entries[0].code, loop.__globals__) if entries else loop
