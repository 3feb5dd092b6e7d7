"""The figures of an experiment: dose and response, and how every read-out goes through manipulation and recovery."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ffstream.experiments.deprivation.plan import REFERENCE, Plan
from ffstream.experiments.deprivation.summary import Outcome, Row, estimate, of, points
from ffstream.measuring.report import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of what is done; colours that colour-blind eyes tell apart (Okabe and Ito).
COLOURS = {
    "rested": "black",
    "deprived": "#D55E00",
    "restricted": "#E69F00",
    "sham": "#CC79A7",
    "asleep": "#0072B2",
}
MARKERS = {"deprived": "o", "restricted": "s", "sham": "x", "asleep": "^"}


def dose_response(plan: Plan, found: Sequence[Outcome]) -> Figure:
    """Draw points of test accuracy lost at the end of the manipulation over its length, a panel a recipe."""
    made, axes = figure(len(plan.recipes))
    for ax, recipe in zip(axes, plan.recipes, strict=True):
        _by_dose(ax, [one for one in found if one.recipe == recipe], lambda one: one.deficit)
        ax.axhline(0, color=COLOURS["rested"], linewidth=1)
        ax.axhspan(-plan.margin, plan.margin, color="0.93", zorder=0)
        ax.set(ylabel="test accuracy lost, points", title=plan.recipes[recipe].title)
        _fit_points(ax, plan)
    return made


def accepted_by_dose(plan: Plan, found: Sequence[Outcome]) -> Figure:
    """Draw false accepts gained at the end of the manipulation over its length, a panel a recipe."""
    made, axes = figure(len(plan.recipes))
    for ax, recipe in zip(axes, plan.recipes, strict=True):
        _by_dose(ax, [one for one in found if one.recipe == recipe], lambda one: one.false_accepts_gained)
        ax.axhline(0, color=COLOURS["rested"], linewidth=1)
        ax.set(ylabel="false accepts gained, points", title=plan.recipes[recipe].title)
    return made


def courses(plan: Plan, rows: Sequence[Row], column: str, label: str, scale: float = 1.0) -> Figure:
    """Draw a read-out over the steps since the manipulation began, a line an arm, a panel a recipe.

    The mean over seeds with its 95 % interval shaded; the manipulation is drawn thick, recovery thin.
    """
    made, axes = figure(len(plan.recipes))
    for ax, recipe in zip(axes, plan.recipes, strict=True):
        ax.set(xscale="symlog", xlabel="learning steps since, awake and asleep", ylabel=label)
        ax.set_title(plan.recipes[recipe].title)
        shades = []
        for arm in (REFERENCE, *plan.arms):
            lives = [_values(of(rows, recipe, arm, seed), column, scale) for seed in range(plan.seeds)]
            colour = COLOURS["rested" if arm == REFERENCE else plan.arms[arm].timeline[0].do]
            shades.append((_course(ax, np.stack(lives), colour, thick=arm != REFERENCE), colour))
        ax.set_xlim(left=0)
        # Two seeds can have an interval as wide as the whole scale: it is the means that decide what is shown.
        ax.autoscale(enable=False)
        for (x, low, high), colour in shades:
            ax.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        _legend(ax, ["rested", *(arm.timeline[0].do for arm in plan.arms.values())])
    return made


def recoveries(plan: Plan, rows: Sequence[Row]) -> Figure:
    """Draw points that are still lost over the sleep steps of the recovery, a line an arm, a panel a recipe."""
    made, axes = figure(len(plan.recipes))
    for ax, recipe in zip(axes, plan.recipes, strict=True):
        for name, arm in plan.arms.items():
            lives = [_still_lost(rows, recipe, name, seed) for seed in range(plan.seeds)]
            lives = [life for life in lives if len(life)]
            if lives:
                kind = arm.timeline[0].do
                x, y = np.stack(lives).mean(0)
                line = ":" if arm.timeline[-1].do == "asleep" else "-"
                ax.plot(x, y, line, color=COLOURS[kind], marker=MARKERS.get(kind, "."), markersize=3, linewidth=1)
        ax.axhspan(-plan.margin, plan.margin, color="0.93", zorder=0)
        ax.set(xscale="symlog", xlabel="sleep steps of the recovery", ylabel="test accuracy still lost, points")
        _fit_points(ax, plan)
        ax.set_title(plan.recipes[recipe].title)
        _legend(ax, [arm.timeline[0].do for arm in plan.arms.values()])
    return made


def all_of(plan: Plan, rows: Sequence[Row], found: Sequence[Outcome]) -> Mapping[str, Figure]:
    """Return every figure by the name of its file."""
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


def _by_dose(ax: Axes, found: Sequence[Outcome], values: Callable[[Outcome], Sequence[float]]) -> None:
    for kind in dict.fromkeys(one.do for one in found):
        # Arms that begin alike say the same: one point is enough.
        doses = {one.dose: estimate(values(one)) for one in found if one.do == kind}
        at = sorted(doses)
        ax.errorbar(
            at,
            [doses[dose].mean for dose in at],
            yerr=[doses[dose].half or 0.0 for dose in at],
            color=COLOURS[kind],
            marker=MARKERS.get(kind, "."),
            capsize=3,
            label=kind,
        )
    ax.set(xscale="log", xlabel="dose: batches, or under asleep sleep steps")
    ax.legend(fontsize="small")


def _course(ax: Axes, lives: NDArray[np.float64], colour: str, *, thick: bool) -> NDArray[np.float64]:
    """Draw the mean of lives (n, 3, looks); return steps, and lower and upper end of the interval, (3, looks)."""
    # A daemon's sleep is some steps longer or shorter from seed to seed: x is a mean too.
    x, y, segment = lives.mean(0)
    half = np.array([estimate(list(at)).half or 0.0 for at in lives[:, 1].T])
    ax.plot(x, y, color=colour, linewidth=0.8, alpha=0.8)
    if thick:
        ax.plot(x[segment <= 1], y[segment <= 1], color=colour, linewidth=2)
    return np.stack([x, y - half, y + half])


def _values(life: Sequence[Row], column: str, scale: float) -> NDArray[np.float64]:
    """Return steps, a column and the segment of a life; (3, looks)."""
    shown = [[row["steps"], scale * _mean(row[column]), row["segment"]] for row in life]
    return np.array(shown, np.float64).T


def _mean(value: Any) -> float:
    return float(np.mean(value)) if value is not None else np.nan


def _still_lost(rows: Sequence[Row], recipe: str, arm: str, seed: int) -> NDArray[np.float64]:
    """Return sleep steps of the recovery and points still lost; (2, looks), or nothing where there was none."""
    life = of(rows, recipe, arm, seed)
    if not life or life[-1]["segment"] < 2:
        return np.empty(0)
    lost = points(life, of(rows, recipe, REFERENCE, seed), "test_accuracy", -1)
    begun = max(place for place, row in enumerate(life) if row["segment"] == 1)
    steps = [row["sleep_steps"] - life[begun]["sleep_steps"] for row in life[begun:]]
    return np.array([steps, lost[begun:]], np.float64)


def _fit_points(ax: Axes, plan: Plan) -> None:
    """Make the axis of points logarithmic where some are far more than others: oversleep can cost a hundredfold."""
    if np.abs(ax.dataLim.intervaly).max() > 10 * plan.margin:
        ax.set_yscale("symlog", linthresh=2 * plan.margin)
        ax.yaxis.set_major_formatter("{x:g}")


def _legend(ax: Axes, kinds: Sequence[str]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415  only where a picture is asked for

    lines = [Line2D([], [], color=COLOURS[kind], label=kind) for kind in dict.fromkeys(kinds)]
    ax.legend(handles=lines, fontsize="small")
