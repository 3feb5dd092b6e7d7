from __future__ import annotations

import pytest
import torch
from plain_forward import seeded

from ffstream.ff.goodness import normalise, probability_of_real


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


def test_a_layer_is_undecided_at_its_threshold():
    assert probability_of_real(torch.tensor(4.0), 4.0) == 0.5


def test_more_goodness_is_more_probably_real():
    probabilities = probability_of_real(torch.tensor([1.0, 2.0, 3.0]), 2.0)
    torch.testing.assert_close(probabilities, torch.tensor([0.26894142, 0.5, 0.73105858]))
