"""Figures of the benchmarks, made from the rows that ``--json`` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ffstream.measuring.report import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def throughput(rows: Rows) -> Figure:
    """Draw the ratio to backprop over the batch for the first row's optimizer, one line per net and precision."""
    made, (ax,) = figure()
    best = rows[0]["optimizer"]
    for net, precision in dict.fromkeys((row["net"], row["precision"]) for row in rows):
        line = [r for r in rows if (r["net"], r["precision"], r["optimizer"]) == (net, precision, best)]
        style = "-" if precision == "float32" else "--"
        ax.plot(
            [r["batch"] for r in line],
            [r["ratio_to_backprop"] for r in line],
            style,
            marker="o",
            label=f"{net}, {precision}",
        )
    ax.axhline(1, color="black", linewidth=1)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="rows a step",
        ylabel="times backprop with Adam",
        title=f"Learning speed ({best})",
    )
    ax.set_yticks([1, 2, 4, 8], labels=["1×", "2×", "4×", "8×"])
    batches = sorted({row["batch"] for row in rows})
    ax.set_xticks(batches, labels=batches)
    ax.minorticks_off()
    ax.legend(fontsize="small")
    return made


def optimizers(rows: Rows) -> Figure:
    """Draw accuracy over samples per second: prequential on the left, on the test images on the right."""
    made, axes = figure(2)
    for ax, key, title in zip(
        axes, ("prequential_accuracy", "test_accuracy"), ("predicted before learned", "test"), strict=True
    ):
        for row in rows:
            mark = "s" if row["optimizer"] == "backprop" else "o"
            colour = "tab:orange" if row["precision"] == "bfloat16" else "tab:blue"
            ax.plot(row["samples_per_second"], 100 * row[key], mark, color=colour)
            rounding = "" if row["rounding"] == "nearest" else f", {row['rounding']}"
            ax.annotate(f" {row['optimizer']}{rounding}", (row["samples_per_second"], 100 * row[key]), fontsize=8)
        ax.set(xscale="log", xlabel="new samples a second", ylabel="accuracy, %", title=title)
    axes[0].plot([], [], "o", color="tab:blue", label="float32")
    axes[0].plot([], [], "o", color="tab:orange", label="bfloat16")
    axes[0].legend(fontsize="small")
    return made


def memory(rows: Rows) -> Figure:
    """Draw peak memory over depth, one line per method."""
    made, (ax,) = figure()
    # Backprop may need the same memory with and without checkpointing: a dashed line shows the one below it.
    for method, style in zip(dict.fromkeys(row["method"] for row in rows), ("-", "-", "--"), strict=False):
        line = [row for row in rows if row["method"] == method]
        depths, peaks = [r["layers"] for r in line], [r["peak_bytes"] / 2**20 for r in line]
        ax.plot(depths, peaks, style, marker="o", label=method)
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="layers",
        ylabel="MiB beyond weights and optimizer state",
        title="Memory of a step",
    )
    depths = sorted({row["layers"] for row in rows})
    ax.set_xticks(depths, labels=depths)
    ax.xaxis.set_tick_params(which="minor", bottom=False, labelbottom=False)
    ax.legend(fontsize="small")
    return made


def latency(rows: Rows) -> Figure:
    """Draw the quantiles of latency, one panel per load, one line per number of clients."""
    loads = list(dict.fromkeys(row["load"] for row in rows))
    made, axes = figure(len(loads))
    for ax, load in zip(axes, loads, strict=True):
        for row in (row for row in rows if row["load"] == load):
            quantiles = {"50": row["p50_ms"], "99": row["p99_ms"], "99.9": row["p999_ms"]}
            quantiles = {name: found for name, found in quantiles.items() if found is not None}
            ax.plot(list(quantiles), list(quantiles.values()), "o-", label=f"{row['clients']} clients")
        limit = [2 * row["sweep_p99_ms"] + 2 for row in rows if row["load"] == load]
        ax.axhline(max(limit), color="black", linewidth=1, linestyle=":", label="2 sweeps (p99) + 2 ms")
        ax.set(yscale="log", xlabel="percentile", ylabel="ms from when due", title=load)
        ax.legend(fontsize="small")
    return made


def stream(rows: Rows) -> Figure:
    """Draw new samples per second over samples per message, one line per input type and acknowledgement."""
    made, (ax,) = figure()
    for dtype, ack in dict.fromkeys((row["dtype"], row["ack"]) for row in rows):
        line = [row for row in rows if (row["dtype"], row["ack"]) == (dtype, ack)]
        sent = [r for r in line if r["held"] == 1]
        sizes, name = [r["message_samples"] for r in sent], f"{dtype}, {ack}"
        (drawn,) = ax.plot(sizes, [r["samples_per_second"] for r in sent], "o-", label=name)
        held = [r for r in line if r["held"] > 1]
        held_rates = [r["samples_per_second"] for r in held]
        ax.plot([1] * len(held), held_rates, "s", color=drawn.get_color(), label=f"{name}, held by the client")
    ax.axhline(rows[0]["learner"], color="black", linewidth=1, label="the learner alone, in process")
    ax.set(
        xscale="log",
        xlabel="samples a message",
        ylabel="new samples a second",
        title="Through the acknowledged socket",
        ylim=0,
    )
    ax.legend(fontsize="small")
    return made


def changes(queries: Sequence[Sequence[float]], phases: Sequence[tuple[float, str]], sweep_p99_ms: float) -> Figure:
    """Draw the latency of each query over the time at which it was due; sleep is shaded."""
    made, (ax,) = figure()
    made.set_size_inches(10, 4)
    ends = [*(began for began, _ in phases[1:]), queries[-1][0]]
    for (began, phase), end in zip(phases, ends, strict=True):
        if phase == "sleep":
            ax.axvspan(began, end, color="0.88", linewidth=0)
    ax.plot(*zip(*queries, strict=True), ".", markersize=3)
    ax.axhline(sweep_p99_ms, color="black", linewidth=1, linestyle=":", label="one sweep (99th percentile)")
    ax.set(yscale="log", xlim=(0, queries[-1][0]), xlabel="seconds; asleep where grey", ylabel="ms from when due")
    ax.set_title("Queries through phase changes")
    ax.legend(fontsize="small")
    return made
