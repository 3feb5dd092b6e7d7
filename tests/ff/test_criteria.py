"""What goodness is held against: the probability of real, and how the loss slopes."""

from __future__ import annotations

import pytest
import torch
from plain_forward import seeded
from torch import Tensor

from ffstream.ff.criteria import AgainstLabels, against_threshold, soften

ROWS, REGIONS, LABELS = 4, 3, 5
TARGETS = torch.tensor([[0, 2], [4, 1], [3, 0], [1, 4]])
SIGNS = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(ROWS, -1)
CALM = torch.randn(ROWS, REGIONS, LABELS, generator=seeded(), dtype=torch.float64)
# Here float64's softmax is 0 or 1.
SATURATED = CALM + 400 * torch.eye(LABELS, dtype=torch.float64)[TARGETS[:, 0]].unsqueeze(1)


def at_targets(values: Tensor) -> Tensor:
    """Pick values (n, r, C) at the targets; (n, r, t)."""
    return torch.stack([values[torch.arange(ROWS), :, TARGETS[:, t]] for t in range(2)], 2)


def labels_loss(goodness: Tensor) -> Tensor:
    """Return -log p at the first target of each row, and -log(1 - p) at the second, p = softmax; (n, r)."""
    every = goodness.logsumexp(2)
    others = [[c for c in range(LABELS) if c != negative] for negative in TARGETS[:, 1].tolist()]
    rest = torch.stack([row[:, kept].logsumexp(1) for row, kept in zip(goodness, others, strict=True)])
    raised, _ = at_targets(goodness).unbind(2)
    return (every - raised) + (every - rest)


@pytest.mark.parametrize("goodness", [CALM, SATURATED, -SATURATED, 1e3 * CALM], ids=["calm", "sure", "wrong", "far"])
def test_against_labels_the_loss_is_that_of_softmax_also_where_it_saturates(goodness):
    free = goodness.clone().requires_grad_()
    labels_loss(free).sum().backward()
    judged = AgainstLabels()(goodness, TARGETS, SIGNS, 0.0)
    assert judged.moved is None
    torch.testing.assert_close(judged.slope, free.grad, rtol=1e-7, atol=1e-12)


def test_against_labels_the_probability_is_the_softmax():
    real = AgainstLabels()(CALM, TARGETS, SIGNS, 0.0).real
    torch.testing.assert_close(real, at_targets(CALM.softmax(2)).mean(1))


def test_against_labels_a_negative_that_is_believed_is_pulled_down_where_float32_rounds_its_probability_to_one():
    goodness, one = torch.tensor([[[60.0, 0.0, 1.0]]]), torch.zeros(1, 1, dtype=torch.int64)
    slope = AgainstLabels()(goodness, one, torch.zeros(1, 1), 0.0).slope
    torch.testing.assert_close(slope[0, 0], torch.tensor([1.0, -0.26894142, -0.73105858]))


def test_against_labels_slopes_sum_to_nothing():
    slope = AgainstLabels()(CALM, TARGETS, SIGNS, 0.0).slope
    torch.testing.assert_close(slope.sum(2), torch.zeros(ROWS, REGIONS, dtype=torch.float64), rtol=0, atol=1e-12)


def test_smoothed_the_loss_against_labels_is_the_cross_entropy_of_a_certainty_short_of_one():
    free = CALM.clone().requires_grad_()
    real = at_targets(free.softmax(2))
    aimed = torch.tensor([0.8, 0.05], dtype=torch.float64)
    (-aimed * real.log() - (1 - aimed) * (1 - real).log()).sum().backward()
    judged = AgainstLabels(0.2)(CALM, TARGETS, SIGNS, 0.0)
    torch.testing.assert_close(judged.slope, free.grad)
    torch.testing.assert_close(judged.real, real.mean(1).detach())


def test_a_layer_that_is_as_sure_as_it_is_to_be_is_left_alone():
    goodness = torch.tensor([[[0.8, 0.05, 0.05, 0.05, 0.05]]], dtype=torch.float64).log()
    signs = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    slope = AgainstLabels(0.2)(goodness, torch.tensor([[0, 1]]), signs, 0.0).slope
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)


def test_softened_the_labels_of_a_row_still_share_one_certainty():
    softened = soften(torch.eye(LABELS), 0.2, LABELS)
    torch.testing.assert_close(softened.sum(1), torch.ones(LABELS))
    torch.testing.assert_close(softened.diagonal(), torch.full((LABELS,), 0.8))


@pytest.mark.parametrize("threshold", [1.5, torch.tensor(1.5)], ids=["number", "tensor"])
def test_against_a_threshold_the_loss_is_that_of_the_sigmoid(threshold):
    free = CALM.clone().requires_grad_()
    real = torch.sigmoid(at_targets(free) - 1.5)
    (-real[:, :, 0].log() - (1 - real[:, :, 1]).log()).sum().backward()
    judged = against_threshold(CALM, TARGETS, SIGNS, threshold)
    assert torch.equal(judged.moved, TARGETS)
    torch.testing.assert_close(judged.slope, at_targets(free.grad))
    torch.testing.assert_close(judged.real, real.mean(1).detach())


def test_a_layer_is_undecided_at_its_threshold():
    goodness = torch.full((1, 1, 2), 4.0)
    assert against_threshold(goodness, torch.tensor([[1]]), torch.ones(1, 1), 4.0).real.item() == 0.5


@pytest.mark.parametrize("criterion", [against_threshold, AgainstLabels()])
def test_more_goodness_is_more_probably_real(criterion):
    goodness = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]], [[3.0, 0.0]]])
    real = criterion(goodness, torch.zeros(3, 1, dtype=torch.int64), torch.ones(3, 1), 2.0).real[:, 0]
    expected = torch.tensor([1.0, 2.0, 3.0]) - (2.0 if criterion is against_threshold else 0.0)
    torch.testing.assert_close(real, torch.sigmoid(expected))
