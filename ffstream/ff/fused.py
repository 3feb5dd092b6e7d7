"""The loop through the layers, compiled: one call for some layers, and about two passes over each one's activations.

What is compiled is ``ffstream.ff.flow`` itself, so the readable path and the fast one are one text. Rows are a dynamic
dimension: one row and several rows are compiled once each, before the loop is used, and nothing is compiled
again whatever rows a sweep brings.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ffstream.errors import NotCompiled
from ffstream.ff import internals
from ffstream.ff.flow import Passed, Span, flow, read
from ffstream.ff.lesson import Phase, Teaching

if TYPE_CHECKING:
    from ffstream.ff.network import Network

# Rows to which a graph of several rows serves: torch compiles some other graph beyond 2048 or 4096, by network.
MOST = 2048
# Characters of a cause that are told: what torch raises goes on for pages.
TOLD = 100


class Compiled:
    """Both loops compiled, for the layers of one network.

    torch looks for the graph of a call by checking some 400 things, from the types of the layers to the number of
    threads: a tenth of a sweep over a few rows. Almost none of them can change once the layers are made. Graphs that
    were found once, in a rehearsal, are called without, for calls of the same kind (``_kind``); others have them asked.
    """

    def __init__(self) -> None:
        # What one layer sends on in bfloat16 the next would take unrounded, and its update rounded.
        options: dict[str, str | int | bool | Callable[..., object]] = {"emulate_precision_casts": True}
        with _telling():
            self._flow, self._read = (torch.compile(loop, fullgraph=True, options=options) for loop in (flow, read))
            internals.prepare_compiler()
        self._found: dict[object, Callable[..., Passed]] = {}

    def flow(
        self, span: Span, x: Tensor, believed: Tensor | None, noise: Tensor, teaching: Teaching, taught: Tensor
    ) -> Passed:
        """``ffstream.ff.flow.flow``, compiled."""
        return self._found.get(_kind(span, x, teaching), self._flow)(span, x, believed, noise, teaching, taught)

    def read(self, span: Span, x: Tensor, believed: Tensor | None) -> Passed:
        """``ffstream.ff.flow.read``, compiled."""
        return self._found.get(_kind(span, x), self._read)(span, x, believed)

    def rehearse(self, network: Network, rows: int, phases: Iterable[Phase]) -> Iterator[None]:
        """Compile for lessons of some phases and sweeps of about so many rows, piece by piece, for whoever iterates.

        What is compiled for one network serves another of the same configuration, which finds it by a rehearsal of its
        own. Rows of zeros that teach nothing are sent through; no state of the network changes.

        Raises
        ------
        NotCompiled
            With the cause in one line.
        """
        lessons = [*phases] if network.looks_up else [*phases, None]
        for phase, n in itertools.product(lessons, (max(rows, 2), 1)):
            with _telling():
                self._rehearse(network, phase, n)
            yield

    def _rehearse(self, network: Network, phase: Phase | None, n: int) -> None:
        """Send n rows of zeros through all that is compiled, as a lesson or as queries."""

        def blank(*shape: int, rows: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
            shape = (*shape[:rows], n, *shape[rows:])
            tensor = torch.zeros(shape, dtype=dtype, device=network.device)
            if n > 1:
                internals.mark_dynamic(tensor, rows)
            return tensor

        width, labels = network.config.width, network.layers[0].form.labels
        for span in network.spans:
            if span.compiles:
                x = blank(network.paths, width, dtype=torch.float32 if span.entry else network.dtype)
                believed = None if span.entry else blank(labels)
                if phase is None:
                    self._read(span, x, believed)
                    self._keep(_kind(span, x), read)
                else:
                    signs = blank(1) if network.config.corruption and phase is Phase.TOGETHER else network.signs(phase)
                    teaching = Teaching(blank(1, dtype=torch.int64), signs, blank(1))
                    self._flow(span, x, believed, blank(len(span.layers), labels, rows=1), teaching, torch.tensor(0))
                    self._keep(_kind(span, x, teaching), flow)
            width = span.layers[-1].onward

    def _keep(self, kind: object, loop: Callable[..., Passed]) -> None:
        """Keep the graph that torch called last for calls of a kind; without one they go through torch's checks."""
        graph = internals.last_graph(loop)
        if graph is not None:
            self._found[kind] = graph


def _kind(span: Span, x: Tensor, teaching: Teaching | None = None) -> tuple[object, ...]:
    """What may differ between two calls, so that one graph serves the one and another the other."""
    # So many rows as the others of their kind, or a number that was not rehearsed.
    rows = min(len(x), 2) if len(x) <= MOST else len(x)
    kind = span.layers[0], rows, x.shape[1], x.dtype, x.device, x.is_contiguous()
    if teaching is None:
        return kind
    signs = teaching.signs.shape
    return *kind, signs[0] == 1, signs[1], teaching.labels.dtype, teaching.labels.is_contiguous()


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Make one line of whatever torch's compiler raises: what is wrong, and what to do about it."""
    try:
        yield
    except OSError as error:
        folder = f": {error.filename}" if error.filename else ""
        raise NotCompiled(f"{error.strerror or error}{folder}; name a writable TORCHINDUCTOR_CACHE_DIR") from error
    except (RuntimeError, ImportError, AttributeError) as error:
        raise NotCompiled(_cause(error)) from error


def _cause(error: Exception) -> str:
    """Say in one line what torch's compiler did not get over, and what to do."""
    while (inner := getattr(error, "inner_exception", None)) is not None:
        error = inner
    if type(error).__name__ == "InvalidCxxCompiler":
        return "no C++ compiler works here; install g++, or name one in CXX"
    # What a C++ compiler says comes after the command that it was given, which is long.
    said = " ".join((str(getattr(error, "output", "")) or str(error)).split())
    told = said[max(0, said.find("error: ")) :][:TOLD]
    return f"{type(error).__name__}: {told}; engine.compile = false does not try"
