"""What becomes of a step that bfloat16 is too coarse to show: near 1 it has steps of 1/128."""

from __future__ import annotations

import pytest
import torch
from plain_forward import CODINGS, copy_of, equal, learn, make_network, make_rows, relative_error, seeded
from torch import Tensor

from ffstream.ff.rounding import Adder, Master, Nearest, Stochastic, make_adder

ROUNDINGS = ("nearest", "stochastic", "master")
UNITS, INPUTS = 200, 300
ULP = 2.0**-7


def ones(rounding: str, seed: int = 0, value: float = 1.0) -> Adder:
    return make_adder(torch.full((UNITS, INPUTS), value), torch.bfloat16, rounding, seed)


def add(adder: Adder, step: float, units: slice = slice(None)) -> None:
    """Add a step to every weight of some units."""
    left = torch.ones(1, UNITS, dtype=adder.weight.dtype)[:, units]
    adder.add(left, torch.ones(1, INPUTS, dtype=adder.weight.dtype), step, units)


@pytest.mark.parametrize(("name", "kind"), list(zip(ROUNDINGS, (Nearest, Stochastic, Master), strict=True)))
def test_bfloat16_weights_are_rounded_as_the_configuration_says(name, kind):
    adder = ones(name)
    assert type(adder) is kind
    assert adder.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ROUNDINGS)
def test_float32_weights_are_not_rounded(name):
    adder = make_adder(torch.ones(UNITS, INPUTS), torch.float32, name, 0)
    add(adder, 1e-6)
    torch.testing.assert_close(adder.weight, torch.full((UNITS, INPUTS), 1 + 1e-6), rtol=1e-7, atol=0)
    assert adder.state() == {}


def test_nearest_loses_a_step_too_small_to_show_and_keeps_one_that_shows():
    adder = ones("nearest")
    for _ in range(100):
        add(adder, ULP / 4)
    assert (adder.weight == 1).all()
    add(adder, ULP)
    assert (adder.weight == 1 + ULP).all()


@pytest.mark.parametrize("value", [1.0, -1.0])
@pytest.mark.parametrize("share", [-0.75, -0.25, 0.0, 0.1, 0.5, 0.9, 1.0])
def test_stochastic_shows_a_step_with_the_chance_that_makes_its_mean_right(share, value):
    adder = ones("stochastic", value=value)
    # Below 1 bfloat16 has steps half as long.
    step = ULP if share * value >= 0 else ULP / 2
    add(adder, share * step)
    neighbours = {value, value + (step if share > 0 else -step)}
    assert set(adder.weight.unique().tolist()) <= neighbours
    shown = float((adder.weight != value).float().mean())
    assert shown == pytest.approx(abs(share), abs=0.01)


def test_small_stochastic_steps_add_up_to_their_sum():
    adder = ones("stochastic")
    for _ in range(64):
        add(adder, ULP / 8)
    assert float(adder.weight.float().mean()) == pytest.approx(1 + 8 * ULP, abs=0.02 * ULP)
    assert adder.weight.float().std() > ULP / 2


def test_each_stochastic_step_draws_a_noise_of_its_own():
    adder = ones("stochastic")
    add(adder, ULP / 2)
    first = adder.weight > 1
    adder.weight.fill_(1)
    add(adder, ULP / 2)
    # Where the draws are independent, half of the weights agree.
    assert float(((adder.weight > 1) == first).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_the_seed_repeats_the_draws_of_stochastic_rounding():
    one, same, other = (ones("stochastic", seed) for seed in (3, 3, 40))
    for adder in (one, same, other):
        add(adder, ULP / 2)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)


def test_master_keeps_small_steps_until_they_show():
    adder = ones("master")
    add(adder, ULP / 4)
    assert (adder.weight == 1).all()
    for _ in range(3):
        add(adder, ULP / 4)
    assert (adder.weight == 1 + ULP).all()


def test_master_weights_are_the_float32_sum_rounded():
    generator = seeded()
    first = torch.randn(UNITS, INPUTS, generator=generator)
    exact = first.double()
    adder = make_adder(first.clone(), torch.bfloat16, "master", 0)
    for _ in range(20):
        left = torch.randn(3, UNITS, generator=generator).bfloat16()
        right = torch.randn(3, INPUTS, generator=generator).bfloat16()
        adder.add(left, right, 1e-4)
        exact += 1e-4 * left.double().T @ right.double()
    torch.testing.assert_close(adder.weight.double(), exact, rtol=2.0**-8, atol=1e-6)
    torch.testing.assert_close(adder.state()["master"].double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ROUNDINGS)
def test_adding_to_some_units_leaves_the_others_as_they_are(name):
    adder = ones(name)
    add(adder, 2 * ULP, slice(30, 50))
    others = torch.cat([adder.weight[:30], adder.weight[50:]])
    assert (others == 1).all()
    assert (adder.weight[30:50] == 1 + 2 * ULP).all()


@pytest.mark.parametrize("name", ROUNDINGS)
def test_writing_a_state_back_restores_an_adder_bit_for_bit(name):
    going, fresh = ones(name), ones(name)
    for _ in range(3):
        add(going, ULP / 3)
    fresh.weight.copy_(going.weight)
    for key, tensor in fresh.state().items():
        tensor.copy_(going.state()[key])
    for adder in (going, fresh):
        for _ in range(4):
            add(adder, ULP / 3)
    assert torch.equal(going.weight, fresh.weight)


@pytest.mark.parametrize("rule", ["in_place", "unit", "factored"])
@pytest.mark.parametrize("name", ROUNDINGS)
def test_writing_a_state_back_restores_a_bfloat16_network_bit_for_bit(name, rule):
    going, fresh = (make_network("context", rule, rounding=name, precision="bfloat16", seed=0) for _ in range(2))
    for seed in range(3):
        learn(going, make_rows(8, seed), 8)
    for key, tensor in fresh.state().items():
        tensor.copy_(going.state()[key])
    for network in (going, fresh):
        learn(network, make_rows(8, 9), 8)
    assert equal(copy_of(going), copy_of(fresh))


def moved(coding: str, **network: str) -> Tensor:
    """Return how far many small steps move the first layer's weights, in the finest precision that holds them."""
    made = make_network(coding, rate=3e-5, **network)
    finest = made.state().get("0.rule.master", made.layers[0].weight)
    before = finest.float().clone()
    for seed in range(100):
        learn(made, make_rows(16, seed), 16, seed=seed)
    return finest.float() - before


@pytest.mark.parametrize("coding", CODINGS)
def test_a_network_with_master_weights_learns_as_a_float32_one_does(coding):
    exact = moved(coding, precision="float32")
    errors = {
        name: relative_error(moved(coding, precision="bfloat16", rounding=name), exact)
        for name in ("master", "nearest")
    }
    assert errors["master"] < 0.1
    assert errors["nearest"] > 0.2


def formed(adder: Adder, step: float) -> None:
    """Add the same matrix as ``add`` does, formed."""
    adder.add_formed(torch.ones(UNITS, INPUTS, dtype=adder.weight.dtype), step)


@pytest.mark.parametrize("name", ROUNDINGS)
def test_adding_a_matrix_rounds_as_adding_its_factors_does(name):
    one, other = ones(name), ones(name)
    for _ in range(5):
        add(one, ULP / 3)
        formed(other, ULP / 3)
    assert torch.equal(one.weight, other.weight)
    assert all(torch.equal(tensor, other.state()[key]) for key, tensor in one.state().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ROUNDINGS)
def test_holding_scales_each_unit_to_its_norm(name, dtype):
    weight = torch.randn(UNITS, INPUTS, generator=seeded())
    norms = torch.linspace(0.5, 20, UNITS)
    adder = make_adder(weight.clone(), dtype, name, 0)
    adder.hold(norms)
    expected = weight * (norms / weight.norm(dim=1))[:, None]
    torch.testing.assert_close(adder.weight.float(), expected, rtol=3 * torch.finfo(dtype).eps, atol=1e-6)
    torch.testing.assert_close(adder.weight.float().norm(dim=1), norms, rtol=torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("name", ROUNDINGS)
def test_a_unit_without_weights_is_left_without(name):
    adder = ones(name, value=0.0)
    adder.hold(torch.ones(UNITS))
    assert not adder.weight.any()
