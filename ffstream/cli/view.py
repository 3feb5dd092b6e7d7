"""The live view of a learning daemon, drawn from its ``score`` events; used by `watch` and `demo`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_COLOURS = {"wake": "yellow", "sleep": "blue", "together": "green"}
_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 60


class View:
    """Turns score events into something to look at.

    Parameters
    ----------
    title
        Stands on the frame.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._score: Mapping[str, Any] | None = None
        self._history: deque[float] = deque(maxlen=_WIDTH)

    def update(self, score: Mapping[str, Any]) -> None:
        """Take in a score event's fields."""
        self._score = score
        window = score["prequential_window"]
        if not math.isnan(window):
            self._history.append(window)

    def __rich__(self) -> RenderableType:
        if self._score is None:
            return Panel("waiting for the first scores …", title=self._title)
        return Panel(Group(self._learning(), self._layers()), title=self._title)

    def _learning(self) -> Table:
        score = self._score or {}
        phase = score["phase"]
        table = Table.grid(padding=(0, 2))
        table.add_row("phase", Text(phase, style=f"bold {_COLOURS[phase]}"))
        table.add_row("sleep", f"pressure {score['pressure']:.2f}, {score['debt']:,.0f} steps owed")
        table.add_row("learned", f"{score['samples_learned']:,} samples, version {score['version']:,}")
        table.add_row(
            "prequential", f"{_share(score['prequential'])} in all, {_share(score['prequential_window'])} of late"
        )
        table.add_row("", Text(_sparkline(self._history), style="green"))
        table.add_row("query", _quantiles(score["query_ms"]))
        table.add_row("sweep", _quantiles(score["sweep_ms"]))
        return table

    def _layers(self) -> Table:
        score = self._score or {}
        table = Table("layer", "goodness real", "negative", "p(real) real", "negative", "‖W‖", "dead units", box=None)
        for layer, (norm, dead) in enumerate(zip(score["weight_norm"], score["dead_units"], strict=True)):
            cells = [
                f"{scores[sign][layer]:.2f}" if sign in scores else "–"
                for scores in (score["goodness"], score["probability_of_real"])
                for sign in ("real", "negative")
            ]
            table.add_row(str(layer + 1), *cells, f"{norm:.1f}", str(dead))
        return table


def _sparkline(values: deque[float]) -> str:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2%}"


def _quantiles(milliseconds: list[float]) -> str:
    return "{:.2f} ms p50, {:.2f} ms p99".format(*milliseconds) if milliseconds else "–"
