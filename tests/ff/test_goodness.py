from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from plain_forward import CODED, LABELS, configure, learn, make_layer, make_network, make_rows, seeded
from plain_layer import PlainLayer

from ffstream.config.network import Goodness
from ffstream.ff.goodness import normalise
from ffstream.ff.lesson import Lesson, Phase

IMAGE = {"shape": (2, 3, 5), "layers": ({"kind": "convolution", "units": 9, "kernel": 2, "regions": 2},)}
DENSE = {"shape": (12,), "hidden": (20,)}
# Learned assemblies go with a mean over units alone.
PAIRS = [
    (coding, name)
    for coding, name in itertools.product(CODED, get_args(Goodness))
    if coding != "learned" or name not in ("ratio", "topk")
]


@pytest.mark.parametrize("shape", [(5, 7), (5, 1, 7), (5, 3, 700)])
def test_a_normalised_row_has_mean_square_one(shape):
    rows = normalise(torch.randn(shape, generator=seeded()))
    torch.testing.assert_close(rows.square().mean(-1), torch.ones(shape[:-1]))


def test_a_row_of_zeros_stays_a_row_of_zeros():
    assert torch.equal(normalise(torch.zeros(2, 4)), torch.zeros(2, 4))


@pytest.mark.parametrize("scale", [0.05, 1.0, 255.0, 1e6])
def test_normalising_forgets_the_scale_of_a_row(scale):
    rows = torch.randn(5, 7, generator=seeded())
    torch.testing.assert_close(normalise(rows * scale), normalise(rows), rtol=1e-4, atol=1e-5)


def test_normalising_keeps_rows_apart():
    rows = torch.randn(2, 7, generator=seeded())
    assert torch.equal(normalise(torch.cat([rows[:1], rows[1:] * 9]))[0], normalise(rows)[0])


@pytest.mark.parametrize("shape", [DENSE, IMAGE], ids=["dense", "image"])
@pytest.mark.parametrize("temperature", [3.0, "width"])
@pytest.mark.parametrize(("coding", "name"), PAIRS)
def test_goodness_is_that_of_its_formula(name, coding, temperature, shape):
    keys = {"goodness": name, "temperature": temperature, "top_share": 0.4, **shape}
    config, layer = configure(coding, **keys), make_layer(coding, **keys)
    paths = LABELS if coding == "overlay" else 1
    x = torch.randn(5, paths, config.width, generator=seeded(3), dtype=torch.float64)
    form, plain = layer.form, PlainLayer(config, 0, layer.state())
    activation = form.grid.part(layer.connection.forward(x))
    hidden = form.activation.value(form.coding.hypotheses(activation))
    expected = torch.stack([plain.goodness(x[:, c % paths], c) for c in range(plain.labels)], 2)
    torch.testing.assert_close(form.goodness.read(hidden, form.coding.pool()), expected)
    torch.testing.assert_close(layer.read(x)[0], expected.mean(1))


def ratio_and_slope(label_activity: torch.Tensor, other: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Return what a layer of two labels, two units each, says of label 0, and its slope at the activities."""
    layer = make_layer("disjoint", labels=2, shape=(4,), hidden=(4,), goodness="ratio", temperature=1.0, shortlist=2)
    hidden, pool = torch.cat([label_activity, other]).view(1, 1, 1, 1, 4), layer.form.coding.pool()
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    slope = layer.form.goodness.slope(hidden, pool, torch.zeros(1, 1, dtype=torch.int64), one)
    return float(layer.form.goodness.read(hidden, pool)[0, 0, 0]), slope.flatten()


def test_ratio_is_the_published_share_of_the_positive_activity():
    own, other = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([3.0, 4.0], dtype=torch.float64)
    share, slope = ratio_and_slope(own, other)
    # Of SFFA, arXiv 2409.07387: P / (P + N), here of P = 5 / 2 and N = 25 / 2.
    assert share == pytest.approx(5 / 30)
    # Of the mean squares: d/dP = N / (P + N)², d/dN = -P / (P + N)², and each is a mean over two units.
    expected = torch.cat([own * 12.5 / 15**2, -other * 2.5 / 15**2])
    torch.testing.assert_close(slope, expected)


def test_ratio_forgets_the_scale_of_the_activities():
    own, other = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert ratio_and_slope(100 * own, 100 * other)[0] == pytest.approx(ratio_and_slope(own, other)[0])


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("name", get_args(Goodness))
@pytest.mark.parametrize("coding", ["disjoint", "overlay", "context"])
def test_a_row_that_silences_every_unit_leaves_the_weights_finite(coding, name, phase):
    network = make_network(coding, goodness=name)
    rows = torch.cat([torch.zeros(2, 9), make_rows(2)])
    for seed in range(3):
        learn(network, rows, 3, phase, seed)
    network.sweep(torch.zeros(1, 9), Lesson(torch.tensor([1]), phase), seeded())
    assert all(tensor.isfinite().all() for tensor in network.state().values())


def test_topk_counts_the_largest_squares_alone():
    layer = make_layer("overlay", shape=(4,), hidden=(5,), goodness="topk", top_share=0.4, temperature=1.0)
    hidden = torch.tensor([0.5, 3.0, -2.0, 1.0, 0.0], dtype=torch.float64).view(1, 1, 1, 1, 5)
    pool, one = layer.form.coding.pool(), torch.ones(1, 1, 1, dtype=torch.float64)
    assert layer.form.goodness.read(hidden, pool).item() == pytest.approx((9 + 4) / 2)
    slope = layer.form.goodness.slope(hidden, pool, torch.zeros(1, 1, dtype=torch.int64), one)
    assert slope.flatten().tolist() == pytest.approx([0, 3, -2, 0, 0])


@pytest.mark.parametrize(("share", "count"), [(0.01, 1), (0.5, 10), (1.0, 20)])
def test_topk_counts_its_share_of_the_units_and_at_least_one(share, count):
    layer = make_layer("overlay", **DENSE, goodness="topk", top_share=share, temperature=1.0)
    hidden = torch.randn(1, 1, 1, 1, 20, generator=seeded(), dtype=torch.float64)
    expected = hidden.square().flatten().sort(descending=True).values[:count].mean()
    torch.testing.assert_close(layer.form.goodness.read(hidden, layer.form.coding.pool())[0, 0, 0], expected)
