"""What came of the arms: deficits beside the rested arm, and recovery."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffstream.experiments.deprivation.plan import REFERENCE, Plan
from ffstream.measuring.estimate import Estimate

Row = Mapping[str, Any]
# What is said of the end of the manipulation, beside the deficit.
SAID = (
    *("test_accuracy", "goodness_real", "goodness_negative", "d_prime", "hits", "false_accepts"),
    *("confidence", "calibration_error"),
)


@dataclass(frozen=True)
class Outcome:
    """What came of an arm under a recipe; shares are 0 … 1, a value a seed.

    Attributes
    ----------
    recipe, arm, title
        Which.
    do, dose
        Its manipulation, the first segment: what, and for how many steps.
    after
        The read-outs at the end of the manipulation.
    deficit
        Test accuracy of the rested arm after as many batches, less this arm's, in points.
    false_accepts_gained
        False accepts of this arm, less those of the rested one after as many batches, in points.
    lingering
        The deficit at the very end, in points.
    recovery_steps
        Sleep steps of the recovery until the deficit was first within the margin; 0 where it never was beyond it,
        ``None`` where it never came back, or there was no recovery.
    accepts_recovery_steps
        The same for false accepts gained.
    """

    recipe: str
    arm: str
    title: str
    do: str
    dose: int
    after: Mapping[str, Sequence[float]]
    deficit: Sequence[float]
    false_accepts_gained: Sequence[float]
    lingering: Sequence[float]
    recovery_steps: Sequence[int | None]
    accepts_recovery_steps: Sequence[int | None]


def outcomes(plan: Plan, rows: Sequence[Row]) -> list[Outcome]:
    """Hold every arm against the rested one, seed by seed; arms that are not lived yet are left out."""
    found = []
    for recipe in plan.recipes:
        for arm in plan.arms:
            seeds = [seed for seed in range(plan.seeds) if of(rows, recipe, arm, seed)]
            if seeds:
                found.append(_outcome(plan, rows, recipe, arm, seeds))
    return found


def of(rows: Sequence[Row], recipe: str, arm: str, seed: int) -> list[Row]:
    """Return the rows of one life, in order."""
    return [row for row in rows if (row["recipe"], row["arm"], row["seed"]) == (recipe, arm, seed)]


def _outcome(plan: Plan, rows: Sequence[Row], recipe: str, name: str, seeds: Sequence[int]) -> Outcome:
    arm = plan.arms[name]
    lives = [of(rows, recipe, name, seed) for seed in seeds]
    rested = [of(rows, recipe, REFERENCE, seed) for seed in seeds]
    lost = [points(life, beside, "test_accuracy", -1) for life, beside in zip(lives, rested, strict=True)]
    gained = [points(life, beside, "false_accepts", 1) for life, beside in zip(lives, rested, strict=True)]
    # All seeds of an arm are looked at alike.
    end = max(place for place, row in enumerate(lives[0]) if row["segment"] == 1)
    return Outcome(
        recipe=recipe,
        arm=name,
        title=arm.title,
        do=arm.timeline[0].do,
        dose=arm.timeline[0].steps,
        after={key: [life[end][key] for life in lives] for key in SAID},
        deficit=[each[end] for each in lost],
        false_accepts_gained=[each[end] for each in gained],
        lingering=[each[-1] for each in lost],
        recovery_steps=[_back(plan, *one, end) for one in zip(lives, lost, strict=True)],
        accepts_recovery_steps=[_back(plan, *one, end) for one in zip(lives, gained, strict=True)],
    )


def points(life: Sequence[Row], rested: Sequence[Row], column: str, sign: int) -> list[float]:
    """Return how many points a share lies above (1) or below (-1) that of the rested arm after as many batches."""
    beside = {row["batches"]: row[column] for row in rested}
    # Hundredths of a point are what 10,000 images can tell; a float's last digits must not decide on the margin.
    return [round(100 * sign * (row[column] - beside[row["batches"]]), 6) for row in life]


def _back(plan: Plan, life: Sequence[Row], apart: Sequence[float], end: int) -> int | None:
    """Return after how many sleep steps behind the end of the manipulation a life was first within the margin."""
    for row, distance in zip(life[end:], apart[end:], strict=True):
        if distance <= plan.margin:
            return int(row["sleep_steps"] - life[end]["sleep_steps"])
    return None


def table(found: Sequence[Outcome]) -> list[dict[str, str]]:
    """Return what came of the arms as it is shown, a row an arm and recipe."""
    return [
        {
            "recipe": one.recipe,
            "arm": one.arm,
            "test accuracy, %": Estimate.of(one.after["test_accuracy"], 100).with_interval(2),
            "points lost": Estimate.of(one.deficit).with_interval(2, signed=True),
            "d′": _say(one.after["d_prime"]),
            "false accepts, %": Estimate.of(one.after["false_accepts"], 100).with_interval(2),
            "lost at the end": Estimate.of(one.lingering).with_interval(2, signed=True),
            "sleep steps to recover": recovery(one.recovery_steps),
            "sleep steps until false accepts are": recovery(one.accepts_recovery_steps),
            "seeds": str(len(one.deficit)),
        }
        for one in found
    ]


def recovery(found: Sequence[int | None]) -> str:
    """Say how many sleep steps recovery took, and of how many seeds."""
    steps, n = [value for value in found if value is not None], len(found)
    if not steps:
        return "never"
    if not any(steps):
        said = "none needed"
    else:
        said = f"{min(steps)}" if min(steps) == max(steps) else f"{min(steps)} – {max(steps)}"
    return said if len(steps) == n else f"{said} ({n - len(steps)} of {n} never)"


def write_curves(file: Path, rows: Sequence[Row]) -> None:
    """Write every look at every life as CSV; what there is a layer has a column a layer."""
    flat = [_flat(row) for row in rows]
    columns = dict.fromkeys(column for row in flat for column in row)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(columns))
        writer.writeheader()
        writer.writerows(flat)


def _flat(row: Row) -> dict[str, object]:
    told: dict[str, object] = {}
    for key, value in row.items():
        if isinstance(value, list):
            told |= {f"{key}_{layer}": one for layer, one in enumerate(value, start=1)}
        else:
            told[key] = value
    return told


def _say(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return Estimate.of(known).with_interval(2) if known else "–"
