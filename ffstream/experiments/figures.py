"""Figures of the experiments, drawn from the rows that are written as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ffstream.experiments.one_pass import STREAMS
from ffstream.experiments.prequential import METHODS
from ffstream.experiments.recurrent import JUDGED
from ffstream.measuring.report import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def errors_by_pass(rows: Rows) -> Figure:
    """Draw test error over the passes, one line per row, with the range over seeds shaded."""
    made, (ax,) = figure()
    for row in rows:
        errors = np.array(row["errors_by_pass"])
        passes = np.arange(1, errors.shape[1] + 1)
        (line,) = ax.plot(passes, errors.mean(0), marker="." if len(passes) < 30 else "", label=row["name"])
        ax.fill_between(passes, errors.min(0), errors.max(0), color=line.get_color(), alpha=0.2, linewidth=0)
    several = any(len(row["errors_by_pass"]) > 1 for row in rows)
    ax.set(xlabel="pass", ylabel="test error, %", yscale="log")
    ax.set_title(f"Test error by pass{', lowest to highest seed shaded' if several else ''}")
    ax.legend(fontsize="small")
    return made


def separation(rows: Rows) -> Figure:
    """Draw test accuracy over phase length, one line per recipe and negatives, dashed for the end of wake."""
    made, (ax,) = figure()
    made.set_size_inches(8, 4.6)
    for arm, negatives in dict.fromkeys((row["arm"], row["negatives"]) for row in rows):
        ours = [row for row in rows if (row["arm"], row["negatives"]) == (arm, negatives)]
        name = arm if negatives == "relabel" else f"{arm}, {negatives}"
        if arm == "together":
            ax.axhline(100 * np.mean([row["sleep_end_accuracy"] for row in ours]), color="0.4", label=name)
            continue
        steps = sorted({row["steps_per_phase"] for row in ours})
        color = None
        for end, style in (("sleep", "-"), ("wake", "--")):
            spread = [[100 * row[f"{end}_end_accuracy"] for row in ours if row["steps_per_phase"] == k] for k in steps]
            (line,) = ax.plot(steps, [np.mean(each) for each in spread], style, marker=".", color=color)
            line.set_label(name if color is None else "")
            color = line.get_color()
            ax.fill_between(steps, [*map(min, spread)], [*map(max, spread)], color=color, alpha=0.2, linewidth=0)
    ax.set(xscale="log", xlabel="steps of a phase", ylabel="test accuracy, %")
    ax.set_title("Wake and sleep kept apart: end of sleep, and of wake (dashed)")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return made


def by_iteration(row: Mapping[str, Any]) -> Figure:
    """Draw the goodness of the true and the best wrong label, and the error of each iteration, over the iterations."""
    made, (left, right) = figure(2)
    for key, label in (("goodness_true", "true label"), ("goodness_wrong", "best wrong label")):
        left.plot(*_over_seeds(row[key]), marker=".", label=label)
    right.plot(*_over_seeds(row["error_by_iteration"]), marker=".", label="each iteration alone")
    right.axhline(row["error_mean"], color="0.4", linestyle="--", label="those that are judged")
    left.set(ylabel="goodness, mean over layers", title="A label's goodness")
    right.set(ylabel="test error, %", title="Test error")
    for ax in (left, right):
        ax.axvspan(JUDGED[0] - 0.5, JUDGED[-1] + 0.5, color="0.93", zorder=0)
        ax.set_xlabel("iteration; grey: judged")
        ax.legend(fontsize="small")
    return made


def beside_published(rows: Rows) -> Figure:
    """Draw our test errors as bars, next to the published ones where they exist."""
    made, (ax,) = figure()
    made.set_size_inches(7.5, 1.2 + 0.55 * len(rows))
    places = np.arange(len(rows))
    # A bar without a whisker has no deviation: it is of one seed, or of equal seeds.
    deviations = [np.nan if row["error_std"] is None else row["error_std"] for row in rows]
    bars = ax.barh(places - 0.2, [row["error_mean"] for row in rows], 0.4, xerr=deviations, label="ours")
    ax.bar_label(bars, [f" {row['error_mean']:.2f}" for row in rows], fontsize="small")
    published = [(place, row["published_error"]) for place, row in zip(places, rows, strict=True)]
    published = [(place, error) for place, error in published if error is not None]
    if published:
        where, errors = zip(*published, strict=True)
        theirs = ax.barh(np.array(where) + 0.2, errors, 0.4, color="0.7", label="published")
        ax.bar_label(theirs, [f" {error:g}" for error in errors], fontsize="small")
    ax.set_yticks(places, [row["name"] for row in rows])
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set(xlabel="test error, %", title="Ours beside published")
    ax.legend(fontsize="small")
    return made


def prequential(rows: Rows) -> Figure:
    """Draw prequential accuracy along the stream, one panel per stream, one line per method, means over seeds."""
    made, axes = figure(len(STREAMS))
    for ax, stream in zip(axes, STREAMS, strict=True):
        for method in METHODS:
            curves = [row["curve"] for row in rows if (row["stream"], row["method"]) == (stream, method)]
            if curves:
                mean = 100 * np.mean(curves, 0)
                ax.plot(100 * (np.arange(len(mean)) + 0.5) / len(mean), mean, label=method)
        ax.set(xlabel="% of the stream", ylabel="predicted before learned, %", title=stream)
        ax.legend(fontsize="small", loc="lower right")
    return made


def heat_map(rows: Rows, keys: tuple[str, str]) -> Figure:
    """Draw test accuracy over two keys, one panel per number of passes; missing cells stay white."""
    first, second = ([*dict.fromkeys(row[key] for row in rows)] for key in keys)
    passes = [*dict.fromkeys(row["passes"] for row in rows)]
    made, axes = figure(len(passes))
    for ax, number in zip(axes, passes, strict=True):
        found = {(row[keys[0]], row[keys[1]]): 100 * row["test_accuracy"] for row in rows if row["passes"] == number}
        cells = np.array([[found.get((one, other), np.nan) for other in second] for one in first])
        # Without a limit, cells that did not learn would use up the color scale.
        high = float(np.nanmax(cells))
        low = max(float(np.nanmin(cells)), high - 5)
        image = ax.imshow(cells, cmap="viridis", vmin=low, vmax=high)
        for place, value in np.ndenumerate(cells):
            if not np.isnan(value):
                colour = "black" if value > low + 0.6 * (high - low) else "white"
                ax.text(place[1], place[0], f"{value:.1f}", ha="center", va="center", color=colour, fontsize=8)
        ax.set_xticks(range(len(second)), second, rotation=30)
        ax.set_yticks(range(len(first)), first)
        ax.grid(visible=False)
        ax.set(xlabel=keys[1], ylabel=keys[0], title=f"{number} pass" if number == 1 else f"{number} passes")
        made.colorbar(image, ax=ax, shrink=0.8, label="test accuracy, %", extend="min")
    return made


def _over_seeds(curves: Sequence[Sequence[float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return positions from 1, and the mean of curves, one curve per seed."""
    mean = np.mean(curves, 0)
    return np.arange(1, len(mean) + 1), mean
