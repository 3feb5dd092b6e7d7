"""The results of all stages, rewritten after each figure, so that a killed run leaves valid files."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ffstream.measuring.report import markdown

Figure = float | int | str | bool | None


class Row(NamedTuple):
    """Result of a stage in one case.

    Attributes
    ----------
    case
        The case: a net, rows and precision, or a part of the daemon.
    figures
        Results by name; a name ends with its unit.
    """

    case: str
    figures: Mapping[str, Figure]


@dataclass
class Outcome:
    """Progress and outcome of a stage.

    Attributes
    ----------
    status
        ``short``: out of time before its last case, with whole rows for the earlier cases; ``failed``: see ``error``.
    budget_s, seconds
        Seconds allotted, and seconds taken.
    """

    stage: str
    status: Literal["waiting", "running", "ran", "short", "failed"] = "waiting"
    budget_s: float = 0.0
    seconds: float = 0.0
    error: str = ""
    rows: list[Row] = field(default_factory=list)


class Report:
    """``results.json`` and ``table.md`` in a folder.

    Parameters
    ----------
    folder
        Output folder; created if missing.
    stages
        Names of all stages, in their order.
    facts
        Other entries of the JSON.
    """

    def __init__(self, folder: Path, stages: list[str], facts: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.outcomes = {stage: Outcome(stage) for stage in stages}
        self._facts = {"began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **facts}
        self.write()

    def write(self) -> None:
        """Write both files, each atomically."""
        stages = [
            {**asdict(outcome), "rows": [{"case": row.case, **row.figures} for row in outcome.rows]}
            for outcome in self.outcomes.values()
        ]
        self._replace("results.json", json.dumps({**self._facts, "stages": stages}, indent=1) + "\n")
        self._replace("table.md", self.table())

    def table(self) -> str:
        """Return all figures as a Markdown table."""
        lines = []
        for outcome in self.outcomes.values():
            took = f"{outcome.status}, {outcome.seconds:.0f} of {outcome.budget_s:.0f} s"
            found = outcome.error.splitlines()[0] if outcome.error else ""
            lines.append({"stage": outcome.stage, "case": took, "found": found})
            lines += [{"stage": "", "case": row.case, "found": told(row.figures)} for row in outcome.rows]
        return markdown(lines)

    def _replace(self, name: str, text: str) -> None:
        unfinished = self.folder / f".{name}.new"
        unfinished.write_text(text, "utf-8")
        unfinished.replace(self.folder / name)


def told(figures: Mapping[str, Figure]) -> str:
    """Return figures as one line."""
    return ", ".join(f"{name} {_number(value)}" for name, value in figures.items())


def _number(value: Figure) -> str:
    if isinstance(value, bool) or not isinstance(value, float | int):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or isinstance(value, int) else f"{value:.4g}"
