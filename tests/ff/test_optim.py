"""Rules held against their plain formulas, for gradients that come as factors and for those that are formed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from plain_forward import RULES, configure, make_network, relative_error, seeded
from torch import Tensor

from ffstream.config import OptimizerConfig
from ffstream.ff import optim
from ffstream.ff.gradients import Factors, Formed
from ffstream.ff.network import Network
from ffstream.ff.optim import Rule
from ffstream.ff.rounding import Nearest, make_adder

UNITS, INPUTS, RATE, BETAS = 5, 7, 0.01, (0.8, 0.95)
STATE = {
    "in_place": set(),
    "unit": {"units", "steps"},
    "factored": {"units", "inputs", "steps"},
    "momentum": {"mean"},
    "adam": {"mean", "square", "steps"},
}
Kind = type[Factors] | type[Formed]
KINDS = (Factors, Formed)


def make_weight() -> Tensor:
    return torch.randn(UNITS, INPUTS, generator=seeded(), dtype=torch.float64)


def make_gradients(kind: Kind, steps: int, seed: int = 1) -> list[Factors] | list[Formed]:
    """Draw gradients whose units and inputs differ in scale."""
    generator = seeded(seed)
    units, inputs = torch.logspace(-3, 1, UNITS).double(), torch.logspace(-1, 1, INPUTS).double()

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    factors = [Factors(drawn(4, UNITS) * units, drawn(4, INPUTS) * inputs) for _ in range(steps)]
    return factors if kind is Factors else [Formed(matrix) for matrix in whole(factors)]


def make_rule(name: str, weight: Tensor, rate: float = RATE) -> Rule:
    return optim.make_rule(OptimizerConfig(rule=name, betas=BETAS), Nearest(weight), rate)


def whole(gradients: list[Factors] | list[Formed]) -> list[Tensor]:
    return [g.gradient if isinstance(g, Formed) else g.delta.T @ g.inputs for g in gradients]


def plain_in_place(gradients: list[Factors] | list[Formed]) -> Tensor:
    return -RATE * sum(whole(gradients))


def running(squares: list[Tensor]) -> list[Tensor]:
    """Return the running mean of what was seen, after each step, made unbiased."""
    means = []
    for t in range(1, len(squares) + 1):
        shares = [BETAS[1] ** (t - 1 - s) * (1 - BETAS[1]) for s in range(t)]
        means.append(sum(share * seen for share, seen in zip(shares, squares, strict=False)) / sum(shares))
    return means


def roots(squares: list[Tensor]) -> list[Tensor]:
    return [(mean + 0.1 * mean.mean()).sqrt() for mean in running(squares)]


def plain_unit(gradients: list[Factors] | list[Formed], *, by_input: bool = False) -> Tensor:
    """Divide by root mean squares: of each factor, or of the rows and the columns of what is formed."""
    units = roots([(g.gradient**2).mean(1) if isinstance(g, Formed) else (g.delta**2).sum(0) for g in gradients])
    inputs = roots([((g.gradient if isinstance(g, Formed) else g.inputs) ** 2).mean(0) for g in gradients])
    if not by_input:
        inputs = [torch.ones(INPUTS)] * len(gradients)
    return -RATE * sum(g / torch.outer(u, i) for g, u, i in zip(whole(gradients), units, inputs, strict=True))


def plain_factored(gradients: list[Factors] | list[Formed]) -> Tensor:
    return plain_unit(gradients, by_input=True)


def plain_momentum(gradients: list[Factors] | list[Formed]) -> Tensor:
    mean, moved = torch.zeros(2, UNITS, INPUTS, dtype=torch.float64)
    for gradient in whole(gradients):
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        moved = moved - RATE * mean
    return moved


def plain_adam(gradients: list[Factors] | list[Formed]) -> Tensor:
    mean, square, moved = torch.zeros(3, UNITS, INPUTS, dtype=torch.float64)
    for t, gradient in enumerate(whole(gradients), 1):
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        unbiased = mean / (1 - BETAS[0] ** t), square / (1 - BETAS[1] ** t)
        moved = moved - RATE * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    return moved


PLAIN: dict[str, Callable[[list[Factors] | list[Formed]], Tensor]] = {
    "in_place": plain_in_place,
    "unit": plain_unit,
    "factored": plain_factored,
    "momentum": plain_momentum,
    "adam": plain_adam,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_moves_the_weights_as_its_plain_formula_does(name, steps, kind):
    weight, gradients = make_weight(), make_gradients(kind, steps)
    rule = make_rule(name, weight)
    for gradient in gradients:
        rule.apply(gradient)
    torch.testing.assert_close(weight - make_weight(), PLAIN[name](gradients), rtol=1e-5, atol=1e-9)


def test_adam_moves_the_weights_as_torchs_own_optimizer_does():
    weight, expected = make_weight(), make_weight().requires_grad_()
    rule, gradients = make_rule("adam", weight), make_gradients(Factors, 7)
    optimizer = torch.optim.Adam([expected], lr=RATE, betas=BETAS, fused=False, foreach=False)
    for gradient, matrix in zip(gradients, whole(gradients), strict=True):
        rule.apply(gradient)
        expected.grad = matrix
        optimizer.step()
    torch.testing.assert_close(weight, expected.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["in_place", "momentum", "adam"])
def test_a_gradient_that_is_formed_moves_the_weights_as_its_factors_do(name):
    by_factors, formed = make_weight(), make_weight()
    for weight, kind in ((by_factors, Factors), (formed, Formed)):
        rule = make_rule(name, weight)
        for gradient in make_gradients(kind, 4):
            rule.apply(gradient)
    torch.testing.assert_close(by_factors, formed, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_changes_the_very_tensor_that_it_was_given_and_leaves_the_gradient_alone(name, kind):
    weight, given, before = make_weight(), make_gradients(kind, 1)[0], make_gradients(kind, 1)[0]
    make_rule(name, weight).apply(given)
    assert not torch.equal(weight, make_weight())
    assert torch.equal(*whole([given]), *whole([before]))


@pytest.mark.parametrize("name", RULES)
def test_a_gradient_of_nothing_moves_nothing(name):
    weight = make_weight()
    make_rule(name, weight).apply(Factors(torch.zeros(4, UNITS).double(), torch.ones(4, INPUTS).double()))
    assert torch.equal(weight, make_weight())


@pytest.mark.parametrize("name", RULES)
def test_the_state_of_a_rule_lists_its_tensors(name):
    assert set(make_rule(name, make_weight()).state()) == STATE[name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RULES)
def test_writing_a_state_back_restores_a_rule_bit_for_bit(name, kind):
    first, second = make_weight(), make_weight()
    going, fresh = make_rule(name, first), make_rule(name, second)
    for gradient in make_gradients(kind, 4):
        going.apply(gradient)
    second.copy_(first)
    for key, tensor in fresh.state().items():
        tensor.copy_(going.state()[key])
    for gradient in make_gradients(kind, 3, seed=2):
        going.apply(gradient)
        fresh.apply(gradient)
    assert torch.equal(first, second)
    assert all(torch.equal(tensor, fresh.state()[key]) for key, tensor in going.state().items())


@pytest.mark.parametrize("name", RULES)
def test_the_step_size_of_a_rule_can_be_set(name):
    slow, fast = make_weight(), make_weight()
    for weight, rate in ((slow, RATE / 4), (fast, RATE)):
        rule = make_rule(name, weight)
        assert rule.rate == RATE
        rule.rate = rate
        rule.apply(make_gradients(Factors, 1)[0])
    torch.testing.assert_close(4 * (slow - make_weight()), fast - make_weight(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RULES)
def test_bfloat16_weights_with_a_master_copy_move_as_float32_ones_do(name, kind):
    exact = make_weight().float()
    adder = make_adder(exact.clone(), torch.bfloat16, "master", 0)
    config = OptimizerConfig(rule=name, betas=BETAS)
    rules = optim.make_rule(config, Nearest(exact), 1e-4), optim.make_rule(config, adder, 1e-4)
    for gradient in make_gradients(Factors, 20):
        halves = gradient.delta.bfloat16(), gradient.inputs.bfloat16()
        for rule, dtype in zip(rules, (torch.float32, torch.bfloat16), strict=True):
            delta, inputs = (half.to(dtype) for half in halves)
            rule.apply(Factors(delta, inputs) if kind is Factors else Formed(delta.T @ inputs))
    first = make_weight().float()
    assert relative_error(adder.exact - first, exact - first) < 0.02
    assert torch.equal(adder.weight, adder.exact.bfloat16())


@pytest.mark.parametrize("name", RULES)
def test_what_a_coding_learns_has_a_rule_of_its_own_and_a_step_size_of_its_own(name):
    optimizer = OptimizerConfig(rule=name, rate=0.01, label_rate=3.0)
    network = Network(configure("context"), optimizer, torch.device("cpu"))
    layer, _ = network.layers
    assert (layer.rule.rate, layer.label_rule.rate) == (0.01, pytest.approx(0.03))
    network.anneal(0.5)
    assert (layer.rule.rate, layer.label_rule.rate) == (0.005, pytest.approx(0.015))
    for kind in ("rule", "label_rule"):
        assert {key for key in layer.state() if key.startswith(f"{kind}.")} == {f"{kind}.{key}" for key in STATE[name]}


@pytest.mark.parametrize("coding", ["disjoint", "random", "overlay"])
def test_a_coding_that_learns_nothing_has_no_rule(coding):
    assert [layer.label_rule for layer in make_network(coding).layers] == [None, None]
