from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plain_forward import RULES, seeded
from torch import Tensor

from ffstream.config import OptimizerConfig
from ffstream.ff import optim
from ffstream.ff.gradients import Factors, Formed
from ffstream.ff.optim import Rule
from ffstream.ff.rounding import Nearest

UNITS, INPUTS, LABELS, RATE, BETAS = 5, 7, 3, 0.01, (0.8, 0.95)
NAMES = ("weight", "labels")
Parameters = dict[str, Tensor]
STATE = {
    "in_place": set(),
    "unit": {"units", "steps"},
    "factored": {"units", "inputs", "steps"},
    "momentum": {"mean.weight", "mean.labels"},
    "adam": {f"{kind}.{name}" for kind in ("mean", "square", "steps") for name in NAMES},
}


def make_parameters() -> Parameters:
    shapes = {"weight": (UNITS, INPUTS), "labels": (LABELS, UNITS)}
    return {name: torch.randn(shape, generator=seeded(), dtype=torch.float64) for name, shape in shapes.items()}


def make_gradients(steps: int, seed: int = 1) -> list[Factors]:
    """Draw gradients whose units and inputs differ in scale."""
    generator = seeded(seed)
    units, inputs = torch.logspace(-3, 1, UNITS).double(), torch.logspace(-1, 1, INPUTS).double()

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return [Factors(drawn(4, UNITS) * units, drawn(4, INPUTS) * inputs, drawn(LABELS, UNITS)) for _ in range(steps)]


def make_rule(name: str, parameters: Parameters) -> Rule:
    config = OptimizerConfig(rule=name, rate=RATE, betas=BETAS)
    return optim.make_rule(config, Nearest(parameters["weight"]), parameters.get("labels"))


def plain_in_place(gradients: list[Factors]) -> Parameters:
    weight = sum(g.delta.T @ g.inputs for g in gradients)
    return {"weight": -RATE * weight, "labels": -RATE * sum(g.label_weights for g in gradients)}


def running(squares: list[Tensor]) -> list[Tensor]:
    """Return the running mean of what was seen, after each step, made unbiased."""
    means = []
    for t in range(1, len(squares) + 1):
        shares = [BETAS[1] ** (t - 1 - s) * (1 - BETAS[1]) for s in range(t)]
        means.append(sum(share * seen for share, seen in zip(shares, squares, strict=False)) / sum(shares))
    return means


def roots(squares: list[Tensor]) -> list[Tensor]:
    return [(mean + 0.1 * mean.mean()).sqrt() for mean in running(squares)]


def plain_unit(gradients: list[Factors], *, by_input: bool = False) -> Parameters:
    units = roots([(g.delta**2).sum(0) for g in gradients])
    inputs = roots([(g.inputs**2).mean(0) for g in gradients]) if by_input else [torch.ones(INPUTS)] * len(gradients)
    shrunk = [
        Factors(g.delta / u, g.inputs / i, g.label_weights / u)
        for g, u, i in zip(gradients, units, inputs, strict=True)
    ]
    return plain_in_place(shrunk)


def plain_factored(gradients: list[Factors]) -> Parameters:
    return plain_unit(gradients, by_input=True)


def whole(gradients: list[Factors]) -> dict[str, list[Tensor]]:
    return {"weight": [g.delta.T @ g.inputs for g in gradients], "labels": [g.label_weights for g in gradients]}


def plain_momentum(gradients: list[Factors]) -> Parameters:
    moved = {}
    for name, seen in whole(gradients).items():
        mean, moved[name] = torch.zeros_like(seen[0]), torch.zeros_like(seen[0])
        for gradient in seen:
            mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
            moved[name] = moved[name] - RATE * mean
    return moved


def plain_adam(gradients: list[Factors]) -> Parameters:
    moved = {}
    for name, seen in whole(gradients).items():
        mean, square, moved[name] = (torch.zeros_like(seen[0]) for _ in range(3))
        for t, gradient in enumerate(seen, 1):
            mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
            square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
            unbiased = mean / (1 - BETAS[0] ** t), square / (1 - BETAS[1] ** t)
            moved[name] = moved[name] - RATE * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    return moved


PLAIN: dict[str, Callable[[list[Factors]], Parameters]] = {
    "in_place": plain_in_place,
    "unit": plain_unit,
    "factored": plain_factored,
    "momentum": plain_momentum,
    "adam": plain_adam,
}


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_moves_the_parameters_as_its_plain_formula_does(name, steps):
    parameters, before = make_parameters(), make_parameters()
    rule, gradients = make_rule(name, parameters), make_gradients(steps)
    for gradient in gradients:
        rule.apply(gradient)
    for key, expected in PLAIN[name](gradients).items():
        torch.testing.assert_close(parameters[key] - before[key], expected, rtol=1e-5, atol=1e-9)


def test_adam_moves_the_parameters_as_torchs_own_optimizer_does():
    parameters, gradients = make_parameters(), make_gradients(7)
    rule, expected = make_rule("adam", parameters), {k: v.requires_grad_() for k, v in make_parameters().items()}
    optimizer = torch.optim.Adam(list(expected.values()), lr=RATE, betas=BETAS, fused=False, foreach=False)
    for gradient in gradients:
        rule.apply(gradient)
        expected["weight"].grad, expected["labels"].grad = gradient.delta.T @ gradient.inputs, gradient.label_weights
        optimizer.step()
    for key in NAMES:
        torch.testing.assert_close(parameters[key], expected[key].detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_without_label_weights_moves_the_weights_alike(name):
    with_labels, without = make_parameters(), {"weight": make_parameters()["weight"]}
    beside, alone = make_rule(name, with_labels), make_rule(name, without)
    for gradient in make_gradients(3):
        beside.apply(gradient)
        alone.apply(Factors(gradient.delta, gradient.inputs))
    assert torch.equal(with_labels["weight"], without["weight"])


@pytest.mark.parametrize("name", RULES)
def test_a_rule_changes_the_very_tensors_that_it_was_given(name):
    parameters, before = make_parameters(), make_parameters()
    make_rule(name, parameters).apply(make_gradients(1)[0])
    assert not any(torch.equal(parameters[key], before[key]) for key in NAMES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_leaves_the_gradient_alone(name):
    given, before = make_gradients(1)[0], make_gradients(1)[0]
    make_rule(name, make_parameters()).apply(given)
    assert all(torch.equal(getattr(given, key), getattr(before, key)) for key in ("delta", "inputs", "label_weights"))


@pytest.mark.parametrize("name", RULES)
def test_a_gradient_of_nothing_moves_nothing(name):
    parameters, before = make_parameters(), make_parameters()
    nothing = Factors(torch.zeros(4, UNITS).double(), torch.ones(4, INPUTS).double(), torch.zeros(LABELS, UNITS))
    make_rule(name, parameters).apply(nothing)
    assert all(torch.equal(parameters[key], before[key]) for key in NAMES)


@pytest.mark.parametrize("name", RULES)
def test_the_state_of_a_rule_lists_its_tensors(name):
    assert set(make_rule(name, make_parameters()).state()) == STATE[name]


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
    assert all(torch.equal(tensor, fresh.state()[key]) for key, tensor in going.state().items())


@pytest.mark.parametrize("name", ["in_place", "momentum", "adam"])
def test_a_gradient_that_is_formed_moves_the_parameters_as_its_factors_do(name):
    by_factors, formed = make_parameters(), make_parameters()
    rules = make_rule(name, by_factors), make_rule(name, formed)
    for gradient in make_gradients(4):
        rules[0].apply(gradient)
        rules[1].apply(Formed(gradient.delta.T @ gradient.inputs, gradient.label_weights))
    for key in NAMES:
        torch.testing.assert_close(by_factors[key], formed[key], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["unit", "factored"])
def test_a_gradient_that_is_formed_is_divided_by_the_root_mean_squares_of_its_rows_and_columns(name):
    parameters, before = make_parameters(), make_parameters()
    rule, gradients = make_rule(name, parameters), make_gradients(3)
    matrices = whole(gradients)["weight"]
    units = roots([(matrix**2).mean(1) for matrix in matrices])
    inputs = roots([(matrix**2).mean(0) for matrix in matrices]) if name == "factored" else [torch.ones(INPUTS)] * 3
    expected = sum(-RATE * g / torch.outer(u, i) for g, u, i in zip(matrices, units, inputs, strict=True))
    for gradient, matrix in zip(gradients, matrices, strict=True):
        rule.apply(Formed(matrix, gradient.label_weights))
    torch.testing.assert_close(parameters["weight"] - before["weight"], expected, rtol=1e-5, atol=1e-9)
    # Places share what a coding learns, so the units' shares are not those of the weights.
    step = -RATE * sum(gradient.label_weights for gradient in gradients)
    torch.testing.assert_close(parameters["labels"] - before["labels"], step, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", RULES)
def test_the_step_size_of_a_rule_can_be_set(name):
    slow, fast = make_parameters(), make_parameters()
    for parameters, rate in ((slow, RATE / 4), (fast, RATE)):
        rule = make_rule(name, parameters)
        assert rule.rate == RATE
        rule.rate = rate
        rule.apply(make_gradients(1)[0])
    for key in NAMES:
        first = make_parameters()[key]
        torch.testing.assert_close(4 * (slow[key] - first), fast[key] - first, rtol=1e-9, atol=1e-12)
