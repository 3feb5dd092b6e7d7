"""The live view of a learning daemon, drawn from its ``score`` events; used by `watch` and `demo`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ffstream.cli.facts import facts, grid, share

# As many scores as a daemon keeps for late subscribers.
_HISTORY = 1_024
# Width of the frame, and the width that a column of the table needs beyond its text.
_FRAME, _GAP = 4, 2
_ROWS = 4
_EIGHTHS = " ▁▂▃▄▅▆▇█"


class View:
    """Draws score events, as wide as the terminal.

    Parameters
    ----------
    title
        Title on the frame.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._score: Mapping[str, Any] | None = None
        # Samples learned, and accuracy over the most recent ones.
        self._history: deque[tuple[int, float]] = deque(maxlen=_HISTORY)

    def update(self, score: Mapping[str, Any]) -> None:
        """Add the fields of a score event."""
        self._score = score
        window = score["prequential_window"]
        if not math.isnan(window):
            self._history.append((score["samples_learned"], window))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what fits into the available width."""
        title, width = Text(self._title), options.max_width - _FRAME
        if self._score is None:
            yield Panel(Text("waiting for the first scores …"), title=title)
        else:
            parts = (_learning(self._score), curve(tuple(self._history), width), _layers(self._score, width))
            yield Panel(Group(*parts), title=title)


def curve(history: Sequence[tuple[int, float]], width: int) -> Text:
    """Draw accuracy over samples learned, with numbers on both axes.

    Parameters
    ----------
    history
        Samples learned and accuracy, 0 … 1, in order; the most recent ones are drawn, one per column.
    width
        Number of terminal columns available.
    """
    shown = history[-max(1, width - len("100% ┤")) :]
    if not shown:
        return Text("no sample with a label yet", "dim")
    low = min(99, math.floor(min(accuracy for _, accuracy in shown) * 100))
    high = max(math.ceil(max(accuracy for _, accuracy in shown) * 100), low + 1)
    heights = [(accuracy * 100 - low) / (high - low) * _ROWS * 8 for _, accuracy in shown]
    drawn = Text(no_wrap=True, overflow="crop")
    for row in reversed(range(_ROWS)):
        number = {_ROWS - 1: f"{high}%", 0: f"{low}%"}.get(row, "")
        # The lowest value is also visible.
        filled = (min(8, max(row == 0, round(height - 8 * row))) for height in heights)
        drawn.append(f"{number:>4} ┤").append("".join(_EIGHTHS[eighths] for eighths in filled), "green").append("\n")
    first, last = f"{shown[0][0]:,}", f"{shown[-1][0]:,} samples"
    gap = max(1, len(shown) - len(first) - len(last))
    drawn.append("     └").append(first + " " * gap + last if len(shown) > 1 else last, "dim")
    return drawn


def _learning(score: Mapping[str, Any]) -> Table:
    rows: dict[str, Text | str] = {**facts(score)}
    rows["query"], rows["sweep"] = _quantiles(score["query_ms"]), _quantiles(score["sweep_ms"])
    # The curve below shows the same quantity.
    rows["prequential"] = f"{rows.pop('prequential')}, {share(score['prequential_window'])} recently"
    return grid(rows)


def _layers(score: Mapping[str, Any], width: int) -> Table:
    """Return the table of the layers, with as many columns as fit; the most informative come first."""
    layers = range(len(score["weight_norm"]))

    def scores(key: str, sign: str) -> list[str]:
        held = score[key].get(sign)
        return ["–" if held is None else f"{held[layer]:.2f}" for layer in layers]

    columns = {
        "layer": [str(layer + 1) for layer in layers],
        "goodness real": scores("goodness", "real"),
        "negative": scores("goodness", "negative"),
        "dead units": [str(dead) for dead in score["dead_units"]],
        "p(real) real": scores("probability_of_real", "real"),
        "p(real) negative": scores("probability_of_real", "negative"),
        "‖W‖": [f"{norm:.1f}" for norm in score["weight_norm"]],
    }
    table, taken = Table(box=None), 0
    for heading, cells in columns.items():
        taken += max(len(text) for text in (heading, *cells)) + _GAP
        if taken > width:
            break
        table.add_column(heading, no_wrap=True)
    shown = list(columns.values())[: len(table.columns)]
    for row in zip(*shown, strict=True):
        table.add_row(*row)
    return table


def _quantiles(milliseconds: list[float]) -> str:
    return "{:.2f} ms p50, {:.2f} ms p99".format(*milliseconds) if milliseconds else "–"
