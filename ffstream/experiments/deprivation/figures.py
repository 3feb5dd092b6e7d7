"""Figures of an experiment: dose and response, and the course of every read-out in manipulation and recovery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ffstream.experiments.deprivation.plan import REFERENCE, Arm, Plan
from ffstream.experiments.deprivation.summary import Outcome, Row, of, points
from ffstream.measuring.estimate import Estimate
from ffstream.measuring.report import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colors of manipulations, distinguishable by color-blind readers (Okabe and Ito).
COLOURS = {
    "rested": "black",
    "deprived": "#D55E00",
    "restricted": "#E69F00",
    "sham": "#CC79A7",
    "asleep": "#0072B2",
}
MARKERS = {"deprived": "o", "restricted": "s", "sham": "x", "asleep": "^"}


class Picture(NamedTuple):
    """A figure and a description of it in words."""

    figure: Figure
    alt: str


def dose_response(plan: Plan, found: Sequence[Outcome]) -> Picture:
    """Draw points of test accuracy lost at the end of the manipulation over its length, one panel per recipe."""
    made, told = _by_dose(plan, found, lambda one: one.deficit, "test accuracy lost, points")
    for ax in made.axes:
        ax.axhspan(-plan.margin, plan.margin, color="0.93", zorder=0)
        _fit_points(ax, plan)
    return Picture(made, told)


def accepted_by_dose(plan: Plan, found: Sequence[Outcome]) -> Picture:
    """Draw false accepts gained at the end of the manipulation over its length, one panel per recipe."""
    return Picture(*_by_dose(plan, found, lambda one: one.false_accepts_gained, "false accepts gained, points"))


def courses(plan: Plan, rows: Sequence[Row], column: str, label: str, scale: float = 1.0) -> Picture:
    """Draw a read-out over the steps since the manipulation began, one line per arm, one panel per recipe.

    Lines are means over seeds; the manipulation is thick, recovery thin. A whisker at the end of the manipulation is
    the interval of the mean there: shaded along the whole course, the intervals of all arms would hide every line.
    """
    made, axes = figure(len(plan.recipes))
    told = []
    for ax, recipe in zip(axes, plan.recipes, strict=True):
        ax.set(xscale="symlog", xlabel="learning steps since, awake and asleep", ylabel=label)
        ax.set_title(plan.recipes[recipe].title)
        whiskers = []
        for name, arm in ((REFERENCE, plan.reference), *plan.arms.items()):
            lives = np.stack([_values(of(rows, recipe, name, seed), column, scale) for seed in range(plan.seeds)])
            colour = COLOURS[arm.timeline[0].do]
            whiskers.append((_course(ax, lives, colour, thick=name != REFERENCE), colour))
        ax.set_xlim(left=0)
        # The interval of two seeds can be as wide as the whole scale, so only the means set the limits of the axes.
        ax.autoscale(enable=False)
        for (x, mean, half), colour in whiskers:
            ax.errorbar(x, mean, yerr=half, color=colour, linewidth=1, capsize=3, alpha=0.7)
        _legend(ax, ["rested", *(arm.timeline[0].do for arm in plan.arms.values())])
        told.append(f"{plan.recipes[recipe].title}: {'; '.join(_ends(plan, rows, recipe, column, scale))}.")
    return Picture(made, f"Line chart of {label}, over learning steps, a line for each arm. {' '.join(told)}")


def recoveries(plan: Plan, rows: Sequence[Row]) -> Picture:
    """Draw points still lost over the sleep steps of the recovery, one line per arm, one panel per recipe."""
    made, axes = figure(len(plan.recipes))
    told = []
    for ax, recipe in zip(axes, plan.recipes, strict=True):
        said = []
        longest = _longest(plan)
        for name, arm in plan.arms.items():
            lives = [_still_lost(rows, recipe, name, seed) for seed in range(plan.seeds)]
            lives = [life for life in lives if len(life)]
            if lives:
                kind = arm.timeline[0].do
                x, y = np.stack(lives).mean(0)
                line = ":" if arm.timeline[-1].do == "asleep" else "-"
                ax.plot(x, y, line, color=COLOURS[kind], marker=MARKERS.get(kind, "."), markersize=3, linewidth=1)
                if name in longest:
                    said.append(f"{_manipulated(arm)}, {y[0]:+.2f}, and {y[-1]:+.2f} after {x[-1]:,.0f} sleep steps")
        ax.axhspan(-plan.margin, plan.margin, color="0.93", zorder=0)
        ax.set(xscale="symlog", xlabel="sleep steps of the recovery", ylabel="test accuracy still lost, points")
        _fit_points(ax, plan)
        ax.set_title(plan.recipes[recipe].title)
        _legend(ax, [arm.timeline[0].do for arm in plan.arms.values()])
        told.append(f"{plan.recipes[recipe].title}: {'; '.join(said) or 'no arm recovers'}.")
    return Picture(
        made,
        "Line chart of test accuracy still lost, in points, over the sleep steps of the recovery, a line for each arm. "
        + " ".join(told),
    )


def all_of(plan: Plan, rows: Sequence[Row], found: Sequence[Outcome]) -> Mapping[str, Picture]:
    """Return every picture by its file name."""
    drawn = {
        "dose-response": dose_response(plan, found),
        "accuracy": courses(plan, rows, "test_accuracy", "test accuracy, %", 100),
        "recovery": recoveries(plan, rows),
        "false-accepts-by-dose": accepted_by_dose(plan, found),
        "false-accepts": courses(plan, rows, "false_accepts", "false accepts, % of wrong labels", 100),
        "d-prime": courses(plan, rows, "d_prime", "d′ of true and most believed wrong label"),
        "goodness": courses(plan, rows, "goodness_negative", "goodness of the most believed wrong label"),
        "calibration": courses(plan, rows, "calibration_error", "expected calibration error, %", 100),
        "weights": courses(plan, rows, "weight_norm", "weight norm, mean over layers"),
    }
    if any(row["goodness_dreamed"] is not None for row in rows):
        drawn["dreams"] = courses(plan, rows, "goodness_dreamed", "goodness of dreams, under their own label")
    return drawn


def _by_dose(
    plan: Plan, found: Sequence[Outcome], values: Callable[[Outcome], Sequence[float]], label: str
) -> tuple[Figure, str]:
    """Draw an outcome over the length of the manipulation, one line per kind, one panel per recipe; describe it too."""
    made, axes = figure(len(plan.recipes))
    told = []
    for ax, recipe in zip(axes, plan.recipes, strict=True):
        ours = [one for one in found if one.recipe == recipe]
        kinds = list(dict.fromkeys(one.do for one in ours))
        said = []
        for place, kind in enumerate(kinds):
            # Arms with the same manipulation have the same outcome, so one point is enough.
            doses = {one.dose: Estimate.of(values(one)) for one in ours if one.do == kind}
            at = sorted(doses)
            # Kinds of the same dose are side by side, so that their whiskers do not overlap.
            beside = np.array(at) * 1.05 ** (place - (len(kinds) - 1) / 2)
            _with_whiskers(ax, beside, [doses[dose] for dose in at], kind)
            said.append(f"{kind} {', '.join(f'{doses[dose].mean:+.2f} after {dose:,}' for dose in at)}")
        ax.axhline(0, color=COLOURS["rested"], linewidth=1)
        ax.set(xscale="log", xlabel="dose: batches, or under asleep sleep steps", ylabel=label)
        ax.set_xticks(
            sorted({one.dose for one in ours}), labels=[f"{dose:,}" for dose in sorted({one.dose for one in ours})]
        )
        ax.minorticks_off()
        ax.set_title(plan.recipes[recipe].title)
        ax.legend(fontsize="small")
        told.append(f"{plan.recipes[recipe].title}: {'; '.join(said)}.")
    return made, f"Line chart of {label}, over the length of the manipulation. {' '.join(told)}"


def _with_whiskers(ax: Axes, x: NDArray[np.float64], estimates: Sequence[Estimate], kind: str) -> None:
    """Draw means, each with its interval if there is one."""
    ax.errorbar(
        x,
        [one.mean for one in estimates],
        yerr=[np.nan if one.half is None else one.half for one in estimates],
        color=COLOURS[kind],
        marker=MARKERS.get(kind, "."),
        capsize=3,
        label=kind,
    )


def _course(ax: Axes, lives: NDArray[np.float64], colour: str, *, thick: bool) -> tuple[float, float, float]:
    """Draw the mean of lives (n, 3, looks); return step, mean and half the interval at the end of the manipulation."""
    # The length of a daemon's sleep varies by some steps from seed to seed, so x is a mean too.
    x, y, segment = lives.mean(0)
    ax.plot(x, y, color=colour, linewidth=0.8, alpha=0.8)
    if thick:
        ax.plot(x[segment <= 1], y[segment <= 1], color=colour, linewidth=2)
    end = np.flatnonzero(segment <= 1)[-1]
    half = Estimate.of(lives[:, 1, end]).half
    return float(x[end]), float(y[end]), np.nan if half is None else half


def _ends(plan: Plan, rows: Sequence[Row], recipe: str, column: str, scale: float) -> Iterator[str]:
    """Describe the first and last values of the rested arm, and of the longest arm of each kind."""
    longest = _longest(plan)
    for name, arm in ((REFERENCE, plan.reference), *((name, plan.arms[name]) for name in longest)):
        lives = np.stack([_values(of(rows, recipe, name, seed), column, scale) for seed in range(plan.seeds)])
        _, y, segment = lives.mean(0)
        said = f"{_manipulated(arm)}, from {y[0]:.3g} to {y[np.flatnonzero(segment <= 1)[-1]]:.3g}"
        yield said + (f", then {y[-1]:.3g}" if segment[-1] > 1 else "")


def _longest(plan: Plan) -> list[str]:
    """Return the names of the arms with the longest manipulation of each kind."""
    names: dict[str, str] = {}
    for name, arm in sorted(plan.arms.items(), key=lambda item: item[1].timeline[0].steps):
        names[arm.timeline[0].do] = name
    return list(names.values())


def _manipulated(arm: Arm) -> str:
    """Describe the manipulation of an arm and its length."""
    first = arm.timeline[0]
    return f"{first.do} for {first.steps:,} {'sleep steps' if first.do == 'asleep' else 'batches'}"


def _values(life: Sequence[Row], column: str, scale: float) -> NDArray[np.float64]:
    """Return steps, a column and the segment of a life; (3, looks)."""
    shown = [[row["steps"], scale * _mean(row[column]), row["segment"]] for row in life]
    return np.array(shown, np.float64).T


def _mean(value: Any) -> float:
    return float(np.mean(value)) if value is not None else np.nan


def _still_lost(rows: Sequence[Row], recipe: str, arm: str, seed: int) -> NDArray[np.float64]:
    """Return sleep steps of the recovery and points still lost; (2, looks), or empty if there was no recovery."""
    life = of(rows, recipe, arm, seed)
    if not life or life[-1]["segment"] < 2:
        return np.empty(0)
    lost = points(life, of(rows, recipe, REFERENCE, seed), "test_accuracy", -1)
    begun = max(place for place, row in enumerate(life) if row["segment"] == 1)
    steps = [row["sleep_steps"] - life[begun]["sleep_steps"] for row in life[begun:]]
    return np.array([steps, lost[begun:]], np.float64)


def _fit_points(ax: Axes, plan: Plan) -> None:
    """Make the y axis symmetric log if some losses are far beyond the margin: oversleep can cost a hundredfold."""
    if np.abs(ax.dataLim.intervaly).max() > 10 * plan.margin:
        ax.set_yscale("symlog", linthresh=2 * plan.margin)
        ax.yaxis.set_major_formatter("{x:g}")


def _legend(ax: Axes, kinds: Sequence[str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415  only where a picture is asked for

    lines = [Line2D([], [], color=COLOURS[kind], label=kind) for kind in dict.fromkeys(kinds)]
    ax.legend(handles=lines, fontsize="small")
