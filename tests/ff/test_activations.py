from __future__ import annotations

from typing import get_args

import pytest
import torch
from plain_layer import activate

from ffstream.config.network import Activation
from ffstream.ff.activations import ACTIVATIONS

POINTS = torch.linspace(-8, 8, 1_600, dtype=torch.float64)


@pytest.mark.parametrize("name", get_args(Activation))
def test_an_activation_is_that_of_its_formula(name):
    torch.testing.assert_close(ACTIVATIONS[name].value(POINTS), activate(name, POINTS), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", get_args(Activation))
def test_the_derivative_is_that_of_autograd(name):
    points = POINTS.clone().requires_grad_()
    ACTIVATIONS[name].value(points).sum().backward()
    torch.testing.assert_close(ACTIVATIONS[name].slope(POINTS), points.grad, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", get_args(Activation))
def test_value_and_derivative_keep_shape_and_type(name, dtype):
    rows = torch.zeros(2, 3, 4, dtype=dtype)
    for made in (ACTIVATIONS[name].value(rows), ACTIVATIONS[name].slope(rows)):
        assert (made.shape, made.dtype) == (rows.shape, dtype)


@pytest.mark.parametrize("name", get_args(Activation))
def test_far_from_zero_nothing_overflows_where_the_formula_does_not(name):
    far = torch.tensor([-1e4, -100.0, 100.0, 1e4])
    assert ACTIVATIONS[name].value(far).isfinite().all()
    assert ACTIVATIONS[name].slope(far).isfinite().all()


def test_every_activation_that_can_be_configured_is_there():
    assert set(ACTIVATIONS) == set(get_args(Activation))
