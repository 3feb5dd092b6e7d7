from __future__ import annotations

import pytest
import torch
from plain_forward import seeded

from ffstream.ff.negatives import wrong_labels

DRAWS = 40_000
GOODNESS = torch.tensor([1.0, -0.5, 2.0, 0.0])


def frequencies(draw: str, label: int) -> torch.Tensor:
    labels = torch.full((DRAWS,), label)
    drawn = wrong_labels(GOODNESS.expand(DRAWS, 4), labels, draw, seeded(3))
    return torch.bincount(drawn, minlength=4) / DRAWS


@pytest.mark.parametrize("draw", ["belief", "uniform"])
@pytest.mark.parametrize("labels", [2, 10])
def test_a_wrong_label_is_never_the_true_one(draw, labels):
    true = torch.randint(labels, (5_000,), generator=seeded())
    # The network is sure of the truth, which is when the truth would be drawn.
    goodness = 100.0 * torch.nn.functional.one_hot(true, labels)
    wrong = wrong_labels(goodness, true, draw, seeded())
    assert not (wrong == true).any()
    assert wrong.unique().tolist() == list(range(labels))


@pytest.mark.parametrize("label", range(4))
def test_belief_draws_from_the_softmax_over_the_wrong_labels(label):
    logits = GOODNESS.clone()
    logits[label] = -torch.inf
    torch.testing.assert_close(frequencies("belief", label), logits.softmax(0), rtol=0, atol=0.01)


@pytest.mark.parametrize("label", range(4))
def test_uniform_draws_every_wrong_label_alike(label):
    expected = torch.full((4,), 1 / 3)
    expected[label] = 0
    torch.testing.assert_close(frequencies("uniform", label), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("draw", ["belief", "uniform"])
def test_the_same_generator_draws_the_same_labels(draw):
    goodness, labels = torch.randn(64, 10, generator=seeded()), torch.zeros(64, dtype=torch.int64)
    drawn = [wrong_labels(goodness, labels, draw, seeded(seed)) for seed in (4, 4, 5)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("draw", ["belief", "uniform"])
def test_drawing_leaves_the_goodness_alone(draw):
    goodness = torch.randn(8, 10, generator=seeded())
    before = goodness.clone()
    wrong_labels(goodness, torch.zeros(8, dtype=torch.int64), draw, seeded())
    assert torch.equal(goodness, before)
