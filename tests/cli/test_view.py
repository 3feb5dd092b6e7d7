"""The live view, drawn at several widths."""

from __future__ import annotations

import io
import math

import pytest
from rich.cells import cell_len
from rich.console import Console

from ffstream.cli.view import View, curve

NAN = math.nan


def score(**changes):
    told = {
        "version": 1_876,
        "phase": "sleep",
        "override": "auto",
        "holding": False,
        "pressure": 0.25,
        "debt": 3.0,
        "samples_learned": 12_032,
        "prequential": 0.9,
        "prequential_window": 0.95,
        "goodness": {"real": [12.34, 20.5], "negative": [3.4, 5.6]},
        "probability_of_real": {"real": [0.81, 0.9], "negative": [0.1, 0.2]},
        "weight_norm": [30.1, 21.9],
        "dead_units": [17, 4],
        "sweep_ms": [0.5, 1.25],
        "query_ms": [],
    }
    return told | changes


def drawn(width, *scores, title="a daemon"):
    view = View(title)
    for one in scores:
        view.update(one)
    console = Console(width=width, file=io.StringIO())
    console.print(view)
    return console.file.getvalue()


def climb(count):
    """Scores of a daemon whose accuracy rises from 50 to 97 percent."""
    return [
        score(samples_learned=64 * (k + 1), prequential_window=0.5 + 0.47 * k / max(1, count - 1)) for k in range(count)
    ]


@pytest.mark.parametrize("width", [20, 60, 80, 160])
@pytest.mark.parametrize("count", [0, 1, 500])
def test_no_line_is_wider_than_the_terminal(width, count):
    assert {cell_len(line) for line in drawn(width, *climb(count)).splitlines()} == {width}


@pytest.mark.parametrize("width", [60, 160])
def test_it_says_where_learning_stands(width):
    said = drawn(width, *climb(100))
    for expected in ("sleep", "the schedule", "6,400 samples, version 1,876", "pressure 0.25, 3 steps owed"):
        assert expected in said
    assert "90.00% overall, 97.00% recently" in said
    assert "0.50 ms p50, 1.25 ms p99" in said


@pytest.mark.parametrize("width", [60, 160])
def test_a_hold_and_an_override_are_shown_with_what_ends_them(width):
    free, bound = drawn(width, score()), drawn(width, score(holding=True, override="sham"))
    assert "learning     on" in free
    assert "ffstream ctl" not in free
    assert "held, until ffstream ctl resume" in bound
    assert "ffstream ctl sham, until ffstream ctl auto" in bound


def test_a_narrow_terminal_shows_the_columns_that_say_most():
    narrow, wide = drawn(60, score()), drawn(160, score())
    headings = ["layer", "goodness real", "negative", "dead units", "p(real) real", "p(real) negative", "‖W‖"]
    assert [heading for heading in headings if heading in wide] == headings
    assert [heading for heading in headings if heading in narrow] == headings[:4]
    for cell in ("12.34", "5.60", "17"):
        assert cell in narrow
        assert cell in wide
    assert "30.1" in wide
    assert "30.1" not in narrow


def test_a_sign_that_has_not_been_learned_yet_is_a_dash():
    said = drawn(80, score(goodness={"real": [1.0, 2.0]}, probability_of_real={}))
    assert "1.00           –" in said


def test_the_curve_has_numbers_on_both_axes():
    lines = curve([(64, 0.502), (640, 0.7), (12_800, 0.968)], 40).plain.splitlines()
    assert lines[0].startswith(" 97% ┤")
    assert lines[-2].startswith(" 50% ┤")
    assert lines[-1] == "     └64 12,800 samples"


def test_the_curve_rises_where_accuracy_does():
    rows = [line[6:] for line in curve([(k, k / 10) for k in range(11)], 40).plain.splitlines()[:-1]]
    heights = [sum(" ▁▂▃▄▅▆▇█".index(row[column]) for row in rows) for column in range(11)]
    assert heights == sorted(heights)
    assert heights[-1] == 4 * 8
    assert heights[0] == 1


@pytest.mark.parametrize(
    ("accuracy", "low", "high"), [(0.0, "  0%", "  1%"), (0.5, " 50%", " 51%"), (1.0, " 99%", "100%")]
)
def test_a_flat_curve_is_drawn_within_a_percent(accuracy, low, high):
    lines = curve([(64, accuracy), (128, accuracy)], 40).plain.splitlines()
    assert lines[0].startswith(f"{high} ┤")
    assert lines[-2].startswith(f"{low} ┤")
    assert lines[-2][6:].strip()


def test_the_curve_takes_the_width_and_shows_the_last_scores():
    history = [(64 * (k + 1), k / 1_000) for k in range(1_000)]
    for width in (56, 156):
        lines = curve(history, width).plain.splitlines()
        assert {len(line) for line in lines} == {width}
        assert lines[-1].startswith(f"     └{64 * (1_000 - (width - 6) + 1):,}")
        assert lines[-1].endswith("64,000 samples")


def test_a_stream_without_labels_has_no_curve():
    assert "no sample with a label yet" in drawn(80, score(prequential_window=NAN, prequential=NAN))


def test_a_title_from_outside_is_no_markup():
    assert "data[/k] :x:" in drawn(80, title="data[/k] :x:")
