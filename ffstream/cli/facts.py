"""Describes a daemon's state in words, from its status or its ``score`` events."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from ffstream.cli.listing import age

_COLOURS = {"wake": "yellow", "sleep": "blue", "together": "green"}
_STEPS = {
    "wake_steps": "awake",
    "sleep_steps": "asleep",
    "together_steps": "of both signs",
    "sham_steps": "asleep without effect",
}
# Keys described in words; any other key of a reply is specific to the command.
_STATUS = {
    *("phase", "override", "holding", "pressure", "debt", "samples_learned", "version", "prequential", *_STEPS),
    *("schedule", "samples_waiting", "memory_samples", "shape", "labels", "hidden", "coding"),
    *("ffstream", "device", "backend", "pid", "uptime_s", "stopping"),
}


def facts(told: Mapping[str, Any]) -> dict[str, Text]:
    """Return the facts about learning in a status or a ``score`` event, by heading."""
    phase, override = told["phase"], told["override"]
    return {
        "phase": Text(phase, f"bold {_COLOURS[phase]}"),
        "decided by": Text("the schedule")
        if override == "auto"
        else Text(f"ffstream ctl {override}, until ffstream ctl auto", "red"),
        "learning": Text("held, until ffstream ctl resume", "red") if told["holding"] else Text("on"),
        "sleep": Text(f"pressure {told['pressure']:.2f}, {told['debt']:,.0f} steps owed"),
        "learned": Text(f"{told['samples_learned']:,} samples, version {told['version']:,}"),
        "prequential": Text(f"{share(told['prequential'])} overall"),
    }


def status(reply: Mapping[str, Any]) -> Table:
    """Lay out the reply to a command: its own fields, then the daemon's status."""
    steps = ", ".join(f"{reply[key]:,} {said}" for key, said in _STEPS.items() if reply[key])
    shape, hidden = " × ".join(map(str, reply["shape"])), ", ".join(map(str, reply["hidden"]))
    stopping = ", stopping" if reply["stopping"] else ""
    return grid(
        {
            **{key.replace("_", " "): str(value) for key, value in reply.items() if key not in _STATUS},
            **facts(reply),
            "schedule": reply["schedule"],
            "steps": steps or "none yet",
            "waiting": f"{reply['samples_waiting']:,} samples",
            "memory": f"{reply['memory_samples']:,} samples that sleep can draw from",
            "network": f"{shape} to {reply['labels']} labels, layers of {hidden} units, coding {reply['coding']}",
            "sweeps": _backend(reply["backend"]),
            "daemon": f"ffstream {reply['ffstream']} on {reply['device']}, process {reply['pid']}, "
            f"up {age(reply['uptime_s'])}{stopping}",
        }
    )


def _backend(told: Mapping[str, Any]) -> str:
    """Describe the backend of the sweeps."""
    reason = f" ({told['reason']})" if told["reason"] else ""
    ways = ", ".join(dict.fromkeys(told["products"]))
    return f"{told['loop']}{reason}, {told['precision']}, threads: {told['threads']}, products: {ways}"


def grid(rows: Mapping[str, Text | str]) -> Table:
    """Lay out rows beside their headings."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for heading, said in rows.items():
        table.add_row(Text(heading, "dim"), said)
    return table


def share(value: float) -> str:
    """Format a share, 0 … 1, as a percentage, and NaN as a dash."""
    return "–" if math.isnan(value) else f"{value:.2%}"
