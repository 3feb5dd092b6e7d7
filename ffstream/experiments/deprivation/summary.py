"""Outcomes of the arms: deficits compared with the rested arm, and recovery."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffstream.experiments.deprivation.plan import REFERENCE, Plan
from ffstream.measuring.estimate import Estimate

Row = Mapping[str, Any]
# Read-outs reported at the end of the manipulation, in addition to the deficit.
SAID = (
    *("test_accuracy", "goodness_real", "goodness_negative", "d_prime", "hits", "false_accepts"),
    *("confidence", "calibration_error"),
)


@dataclass(frozen=True)
class Outcome:
    """Outcome of an arm under a recipe, one value per seed; shares are in 0 … 1.

    Attributes
    ----------
    recipe, arm, title
        Names of the recipe and the arm, and title of the arm.
    do, dose
        Kind and number of steps of its manipulation, the first segment.
    after
        Read-outs at the end of the manipulation.
    deficit
        Test accuracy of the rested arm after the same number of batches, minus this arm's, in points.
    false_accepts_gained
        False accepts of this arm, minus those of the rested arm after the same number of batches, in points.
    lingering
        Deficit at the end of the recovery, in points.
    recovery_steps
        Sleep steps of the recovery until the deficit was first within the margin; 0 if it was within it at the end of
        the manipulation, ``None`` if it did not return to it or there was no recovery.
    accepts_recovery_steps
        Same as ``recovery_steps``, for false accepts gained.
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
    """Compare every arm with the rested one, seed by seed; arms that have not run yet are left out."""
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
    # All seeds of an arm are looked at after the same numbers of steps.
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
    """Return the points by which a share is above (1) or below (-1) the rested arm's after as many batches."""
    beside = {row["batches"]: row[column] for row in rested}
    # 10,000 images resolve hundredths of a point; a float's last digits must not decide whether the margin is met.
    return [round(100 * sign * (row[column] - beside[row["batches"]]), 6) for row in life]


def _back(plan: Plan, life: Sequence[Row], apart: Sequence[float], end: int) -> int | None:
    """Return the sleep steps after the manipulation until a life was first within the margin; None if it never was."""
    for row, distance in zip(life[end:], apart[end:], strict=True):
        if distance <= plan.margin:
            return int(row["sleep_steps"] - life[end]["sleep_steps"])
    return None


def table(found: Sequence[Outcome]) -> list[dict[str, str]]:
    """Return the outcomes for display, one row per arm and recipe."""
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
    """Format the range of sleep steps that recovery took, and the number of seeds that never recovered."""
    steps, n = [value for value in found if value is not None], len(found)
    if not steps:
        return "never"
    if not any(steps):
        said = "none needed"
    else:
        said = f"{min(steps)}" if min(steps) == max(steps) else f"{min(steps)} – {max(steps)}"
    return said if len(steps) == n else f"{said} ({n - len(steps)} of {n} never)"


def write_curves(file: Path, rows: Sequence[Row]) -> None:
    """Write every look at every life as CSV; values per layer get one column per layer."""
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
