"""Compiled loops through the layers: one call per span, and about two passes over each layer's activations.

The compiled code is ``ffstream.ff.flow`` itself, so the readable path and the fast one share their source. Rows are a
dynamic dimension: one row and several rows are compiled once each, before the loop is used, and no number of rows up to
``MOST`` compiles anything again.
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

# Number of rows up to which one graph serves: beyond 2048 or 4096, depending on the network, torch compiles another.
MOST = 2048
# Number of characters of a cause to report: torch's messages go on for pages.
TOLD = 100


class Compiled:
    """Both loops, compiled for the layers of one network.

    torch finds the graph of a call by checking some 400 guards, from the types of the layers to the number of threads,
    which takes a tenth of a sweep over a few rows. Almost none of them can change once the layers are made. Graphs
    found in a rehearsal are therefore called without guards for calls of the same kind (``_kind``); other calls check
    them.
    """

    def __init__(self) -> None:
        # Otherwise the next layer's forward pass would use a bfloat16 output unrounded, and its update rounded.
        options: dict[str, str | int | bool | Callable[..., object]] = {"emulate_precision_casts": True}
        with _telling():
            self._flow, self._read = (torch.compile(loop, fullgraph=True, options=options) for loop in (flow, read))
            internals.prepare_compiler()
        self._found: dict[object, Callable[..., Passed]] = {}

    def flow(
        self, span: Span, x: Tensor, believed: Tensor | None, noise: Tensor, teaching: Teaching, taught: Tensor
    ) -> Passed:
        """Run the compiled ``ffstream.ff.flow.flow``."""
        return self._found.get(_kind(span, x, teaching), self._flow)(span, x, believed, noise, teaching, taught)

    def read(self, span: Span, x: Tensor, believed: Tensor | None) -> Passed:
        """Run the compiled ``ffstream.ff.flow.read``."""
        return self._found.get(_kind(span, x), self._read)(span, x, believed)

    def rehearse(self, network: Network, rows: int, phases: Iterable[Phase]) -> Iterator[None]:
        """Compile for lessons of some phases and sweeps of about ``rows`` rows, and yield after each piece.

        Graphs compiled for one network serve another of the same configuration, which finds them by its own rehearsal.
        The rehearsal sends rows of zeros that teach nothing; no state of the network changes.

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
        """Send n rows of zeros through every span that compiles, as a lesson or as queries."""

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
        """Keep the graph that torch called last, for calls of a kind; without one, they go through torch's checks."""
        graph = internals.last_graph(loop)
        if graph is not None:
            self._found[kind] = graph


def _kind(span: Span, x: Tensor, teaching: Teaching | None = None) -> tuple[object, ...]:
    """Return the properties of a call that decide which graph serves it."""
    # One row, several rows, or a number of rows that was not rehearsed.
    rows = min(len(x), 2) if len(x) <= MOST else len(x)
    kind = span.layers[0], rows, x.shape[1], x.dtype, x.device, x.is_contiguous()
    if teaching is None:
        return kind
    signs = teaching.signs.shape
    return *kind, signs[0] == 1, signs[1], teaching.labels.dtype, teaching.labels.is_contiguous()


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Turn whatever torch's compiler raises into one line: what is wrong, and what to do about it."""
    try:
        yield
    except OSError as error:
        folder = f": {error.filename}" if error.filename else ""
        raise NotCompiled(
            f"{error.strerror or error}{folder}; set TORCHINDUCTOR_CACHE_DIR to a writable folder"
        ) from error
    except (RuntimeError, ImportError, AttributeError) as error:
        raise NotCompiled(_cause(error)) from error


def _cause(error: Exception) -> str:
    """Say in one line why torch's compiler failed, and what to do."""
    while (inner := getattr(error, "inner_exception", None)) is not None:
        error = inner
    if type(error).__name__ == "InvalidCxxCompiler":
        return "no C++ compiler works here; install g++, or set CXX to one that works"
    # A C++ compiler's message comes after its command line, which is long.
    said = " ".join((str(getattr(error, "output", "")) or str(error)).split())
    told = said[max(0, said.find("error: ")) :][:TOLD]
    return f"{type(error).__name__}: {told}; set engine.compile = false to run uncompiled"
