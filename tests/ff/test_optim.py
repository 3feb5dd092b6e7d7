from __future__ import annotations

import pytest
import torch
from plain_forward import RULES, seeded

from ffstream.ff.labels import LocalGradient
from ffstream.ff.optim import Adam, InPlace, Rule

UNITS, INPUTS, LABELS, RATE, BETAS = 5, 7, 3, 0.01, (0.8, 0.95)
NAMES = ("weight", "context")


def make_parameters() -> dict[str, torch.Tensor]:
    shapes = {"weight": (UNITS, INPUTS), "context": (LABELS, UNITS)}
    return {name: torch.randn(shape, generator=seeded(), dtype=torch.float64) for name, shape in shapes.items()}


def make_gradients(steps: int, seed: int = 1) -> list[LocalGradient]:
    generator = seeded(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return [LocalGradient(drawn(4, UNITS), drawn(4, INPUTS), drawn(LABELS, UNITS)) for _ in range(steps)]


def make_rule(name: str, parameters: dict[str, torch.Tensor]) -> Rule:
    return Adam(parameters, RATE, BETAS) if name == "adam" else InPlace(parameters, RATE)


def reference(name: str, parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(parameters, lr=RATE, betas=BETAS, fused=False, foreach=False)
    return torch.optim.SGD(parameters, lr=RATE)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_changes_the_parameters_as_torchs_own_optimizer_does(name):
    parameters = make_parameters()
    rule = make_rule(name, parameters)
    expected = {key: value.clone().requires_grad_() for key, value in parameters.items()}
    optimizer = reference(name, list(expected.values()))
    for gradient in make_gradients(7):
        rule.apply(gradient)
        expected["weight"].grad, expected["context"].grad = gradient.delta.T @ gradient.inputs, gradient.context
        optimizer.step()
    for key in NAMES:
        torch.testing.assert_close(parameters[key], expected[key].detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_changes_the_very_tensors_that_it_was_given(name):
    parameters = make_parameters()
    given, before = parameters["weight"], parameters["weight"].clone()
    make_rule(name, parameters).apply(make_gradients(1)[0])
    assert not torch.equal(given, before)


def test_the_state_of_adam_lists_every_tensor_of_every_parameter():
    state = Adam(make_parameters(), RATE, BETAS).state()
    assert set(state) == {f"{kind}.{name}" for kind in ("mean", "square", "steps") for name in NAMES}


def test_in_place_has_no_state():
    assert InPlace(make_parameters(), RATE).state() == {}


@pytest.mark.parametrize("name", RULES)
def test_writing_a_state_back_restores_a_rule_bit_for_bit(name):
    first, second = make_parameters(), make_parameters()
    going, fresh = make_rule(name, first), make_rule(name, second)
    for gradient in make_gradients(4):
        going.apply(gradient)
    for key in NAMES:
        second[key].copy_(first[key])
    for key, tensor in fresh.state().items():
        tensor.copy_(going.state()[key])
    for gradient in make_gradients(3, seed=2):
        going.apply(gradient)
        fresh.apply(gradient)
    assert all(torch.equal(first[key], second[key]) for key in NAMES)
