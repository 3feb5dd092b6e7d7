"""Reports of a measurement: tables for the terminal and in Markdown, a JSON file, figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def show(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print some columns of the rows as a table."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        number = all(isinstance(row[column], int | float | None) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if number else "left")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    # Names and messages from outside are plain text: no markup, no emoji.
    Console(markup=False, emoji=False).print(table)


def write(file: Path | None, environment: Mapping[str, Any], **lists: object) -> None:
    """Write the environment and lists of rows as JSON if a file is given."""
    if file is not None:
        file.write_text(json.dumps({"environment": environment, **lists}, indent=1) + "\n")


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows of text as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def figure(panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure of some panels side by side, without a display."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only where a picture is asked for

    made = Figure(figsize=(5.5 * panels, 4.2), layout="constrained")
    axes = [made.add_subplot(1, panels, 1 + panel) for panel in range(panels)]
    for ax in axes:
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    return made, axes


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
