"""A layer's written-out gradient is the one that autograd computes; autograd itself is used in tests alone."""

from __future__ import annotations

import pytest
import torch
from plain_forward import CODINGS, LABELS, PHASES, WIDTH, make_labels, make_layer, plain_goodness, plain_loss, seeded
from torch import Tensor

from ffstream.ff.labels import Context
from ffstream.ff.layers import Layer, Lesson, Phase

LEARNING, QUERIES = 6, 3


def make_inputs(coding: str) -> Tensor:
    """Return (n, p, i): a path a label under overlay, one path elsewhere."""
    paths = LABELS if coding == "overlay" else 1
    return torch.randn(LEARNING + QUERIES, paths, WIDTH, generator=seeded(5), dtype=torch.float64)


def layer_loss(layer: Layer, weight: Tensor, inputs: Tensor, lesson: Lesson, negatives: Tensor) -> Tensor:
    """Write the loss of the layer out from the paper's formula."""
    g = torch.stack(
        [plain_goodness(layer.coding, weight, inputs[:LEARNING, c % inputs.shape[1]], c) for c in range(LABELS)], 1
    )
    return plain_loss(g, layer.threshold, lesson.phase, lesson.labels, negatives)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def lesson(phase):
    return Lesson(make_labels(LEARNING), phase)


@pytest.fixture
def negatives(lesson):
    return (lesson.labels + torch.tensor([1, 2, 3, 1, 2, 3])) % LABELS


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
def test_the_written_out_weight_gradient_is_that_of_autograd(coding, lesson, negatives):
    layer, inputs = make_layer(coding), make_inputs(coding)
    gradient = layer.gradient(layer.read(inputs), inputs, lesson, negatives)
    weight = layer.weight.clone().requires_grad_()
    layer_loss(layer, weight, inputs, lesson, negatives).backward()
    assert relative_error(gradient.delta.T @ gradient.inputs, weight.grad) < 1e-5


@pytest.mark.parametrize("phase", PHASES)
def test_the_written_out_top_down_gradient_is_that_of_autograd(lesson, negatives):
    layer, inputs = make_layer("context"), make_inputs("context")
    gradient = layer.gradient(layer.read(inputs), inputs, lesson, negatives)
    top_down = layer.coding.top_down.clone().requires_grad_()
    layer.coding = Context(top_down, layer.coding.temperature)
    layer_loss(layer, layer.weight, inputs, lesson, negatives).backward()
    assert relative_error(gradient.context, top_down.grad) < 1e-5


@pytest.mark.parametrize("coding", ["disjoint", "random", "overlay"])
def test_only_context_coding_has_a_top_down_gradient(coding):
    layer, inputs = make_layer(coding), make_inputs(coding)
    labels = make_labels(LEARNING)
    gradient = layer.gradient(layer.read(inputs), inputs, Lesson(labels, Phase.WAKE), labels)
    assert gradient.context is None


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_step_along_the_gradient_lowers_the_loss(coding, lesson, negatives):
    layer, inputs = make_layer(coding), make_inputs(coding)
    gradient = layer.gradient(layer.read(inputs), inputs, lesson, negatives)
    before = layer_loss(layer, layer.weight, inputs, lesson, negatives)
    lower = layer.weight - 1e-3 * gradient.delta.T @ gradient.inputs
    assert layer_loss(layer, lower, inputs, lesson, negatives) < before


@pytest.mark.parametrize("coding", CODINGS)
def test_computing_a_gradient_changes_no_tensor_of_the_layer(coding):
    layer, inputs = make_layer(coding), make_inputs(coding)
    before = {name: tensor.clone() for name, tensor in layer.state().items()}
    labels = make_labels(LEARNING)
    layer.gradient(layer.read(inputs), inputs, Lesson(labels, Phase.TOGETHER), (labels + 1) % LABELS)
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state().items())


@pytest.mark.parametrize(
    ("phase", "raises", "lowers"),
    [(Phase.WAKE, True, False), (Phase.SLEEP, False, True), (Phase.TOGETHER, True, True)],
)
def test_wake_raises_and_sleep_lowers_and_together_does_both(phase, raises, lowers):
    assert (phase.raises, phase.lowers) == (raises, lowers)
