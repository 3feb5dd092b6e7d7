"""A layer's written-out gradient is the one that autograd computes; autograd itself is used in tests alone."""

from __future__ import annotations

import pytest
import torch
from plain_forward import (
    CODINGS,
    LABELS,
    PHASES,
    WIDTH,
    make_labels,
    make_layer,
    normalised,
    plain_goodness,
    plain_loss,
    relative_error,
    seeded,
)
from torch import Tensor

from ffstream.ff.labels import Context
from ffstream.ff.layers import Kernels, Layer, Phase, Teaching, Verdict

LEARNING, QUERIES = 6, 3
ROWS = LEARNING + QUERIES
SIGNS = {Phase.WAKE: [1.0], Phase.SLEEP: [0.0], Phase.TOGETHER: [1.0, 0.0]}
LABELLED = make_labels(LEARNING)
NEGATIVES = (LABELLED + torch.tensor([1, 2, 3, 1, 2, 3])) % LABELS


def make_inputs(coding: str) -> Tensor:
    """Return (n, p, i): a path a label under overlay, one path elsewhere."""
    paths = LABELS if coding == "overlay" else 1
    return torch.randn(ROWS, paths, WIDTH, generator=seeded(5), dtype=torch.float64)


def judged(layer: Layer, inputs: Tensor, phase: Phase, weight: float = 1.0) -> Verdict:
    """Judge rows of which the first are learned from; the noise draws ``NEGATIVES``."""
    believed, noise = torch.zeros(2, ROWS, LABELS, dtype=torch.float64)
    noise += 1
    noise[torch.arange(LEARNING), NEGATIVES] = 1e-90
    labels, weights = torch.zeros(ROWS, 1, dtype=torch.int64), torch.zeros(ROWS, 1, dtype=torch.float64)
    labels[:LEARNING, 0], weights[:LEARNING] = LABELLED, weight
    signs = torch.tensor(SIGNS[phase], dtype=torch.float64)
    return layer.judge(Kernels(), inputs, believed, torch.tensor(1.0), noise, Teaching(labels, signs, weights))


def layer_loss(layer: Layer, weight: Tensor, inputs: Tensor, phase: Phase) -> Tensor:
    """Write the loss of the layer out from the paper's formula."""
    g = torch.stack(
        [plain_goodness(layer.coding, weight, inputs[:LEARNING, c % inputs.shape[1]], c) for c in range(LABELS)], 1
    )
    return plain_loss(g, layer.threshold, phase, LABELLED, NEGATIVES)


@pytest.mark.parametrize("weight", [1.0, 0.25])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
def test_the_written_out_weight_gradient_is_that_of_autograd(coding, phase, weight):
    layer, inputs = make_layer(coding), make_inputs(coding)
    gradient = layer.gradient(judged(layer, inputs, phase, weight), inputs, LEARNING)
    weights = layer.weight.clone().requires_grad_()
    layer_loss(layer, weights, inputs, phase).backward()
    assert relative_error(gradient.delta.T @ gradient.inputs, weight * weights.grad) < 1e-5


@pytest.mark.parametrize("weight", [1.0, 0.25])
@pytest.mark.parametrize("phase", PHASES)
def test_the_written_out_top_down_gradient_is_that_of_autograd(phase, weight):
    layer, inputs = make_layer("context"), make_inputs("context")
    gradient = layer.gradient(judged(layer, inputs, phase, weight), inputs, LEARNING)
    top_down = layer.coding.top_down.clone().requires_grad_()
    layer.coding = Context(top_down, layer.coding.temperature)
    layer_loss(layer, layer.weight, inputs, phase).backward()
    assert relative_error(gradient.context, weight * top_down.grad) < 1e-5


@pytest.mark.parametrize("coding", ["disjoint", "random", "overlay"])
def test_only_context_coding_has_a_top_down_gradient(coding):
    layer, inputs = make_layer(coding), make_inputs(coding)
    assert layer.gradient(judged(layer, inputs, Phase.WAKE), inputs, LEARNING).context is None


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_step_along_the_gradient_lowers_the_loss(coding, phase):
    layer, inputs = make_layer(coding), make_inputs(coding)
    gradient = layer.gradient(judged(layer, inputs, phase), inputs, LEARNING)
    before = layer_loss(layer, layer.weight, inputs, phase)
    lower = layer.weight - 1e-4 * gradient.delta.T @ gradient.inputs
    assert layer_loss(layer, lower, inputs, phase) < before


@pytest.mark.parametrize("coding", CODINGS)
def test_judging_changes_no_tensor_of_the_layer_but_its_centre(coding):
    layer, inputs = make_layer(coding), make_inputs(coding)
    before = {name: tensor.clone() for name, tensor in layer.state().items()}
    layer.gradient(judged(layer, inputs, Phase.TOGETHER), inputs, LEARNING)
    changed = {name for name, tensor in layer.state().items() if not torch.equal(before[name], tensor)}
    assert changed == {"centre"}


@pytest.mark.parametrize("coding", CODINGS)
class TestVerdict:
    def test_what_is_believed_is_the_goodness_of_this_layer_and_those_below(self, coding):
        layer, inputs = make_layer(coding), make_inputs(coding)
        first = judged(layer, inputs, Phase.WAKE)
        teaching = Teaching(torch.zeros(ROWS, 1, dtype=torch.int64), torch.ones(1), torch.zeros(ROWS, 1))
        second = layer.judge(
            Kernels(), inputs, first.believed, torch.tensor(0.0), torch.ones(ROWS, LABELS).double(), teaching
        )
        torch.testing.assert_close(first.believed, first.goodness)
        torch.testing.assert_close(second.believed, 2 * first.goodness)

    @pytest.mark.parametrize("phase", PHASES)
    def test_the_targets_are_the_true_label_that_rises_and_the_wrong_one_that_falls(self, coding, phase):
        verdict = judged(make_layer(coding), make_inputs(coding), phase)
        expected = [LABELLED] * phase.raises + [NEGATIVES] * phase.lowers
        assert torch.equal(verdict.targets[:LEARNING], torch.stack(expected, 1))
        assert torch.equal(verdict.shown, verdict.goodness.gather(1, verdict.targets))

    def test_what_goes_on_is_normalised_and_less_the_centre_that_was(self, coding):
        layer, inputs = make_layer(coding), make_inputs(coding)
        expected = normalised(torch.relu(inputs @ layer.weight.T)) - layer.centre
        torch.testing.assert_close(judged(layer, inputs, Phase.WAKE).onward, expected)

    @pytest.mark.parametrize("phase", PHASES)
    def test_a_query_row_has_no_slope(self, coding, phase):
        delta = judged(make_layer(coding), make_inputs(coding), phase).delta
        assert not delta[LEARNING:].any()
        assert delta[:LEARNING].any()


@pytest.mark.parametrize(
    ("phase", "raises", "lowers"),
    [(Phase.WAKE, True, False), (Phase.SLEEP, False, True), (Phase.TOGETHER, True, True)],
)
def test_wake_raises_and_sleep_lowers_and_together_does_both(phase, raises, lowers):
    assert (phase.raises, phase.lowers) == (raises, lowers)
