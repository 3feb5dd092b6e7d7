from __future__ import annotations

import pytest
import torch
from plain_forward import plain_negative, seeded

from ffstream.ff.negatives import wrong_labels

DRAWS = 40_000
GOODNESS = torch.tensor([1.0, -0.5, 2.0, 0.0])


def exponential(rows: int, labels: int, seed: int = 3) -> torch.Tensor:
    return torch.empty(rows, labels).exponential_(generator=seeded(seed))


def frequencies(logits: torch.Tensor, label: int) -> torch.Tensor:
    drawn = wrong_labels(logits.expand(DRAWS, 4), torch.full((DRAWS, 1), label), exponential(DRAWS, 4))
    return torch.bincount(drawn[:, 0], minlength=4) / DRAWS


@pytest.mark.parametrize("sure", [0.0, 100.0], ids=["of nothing", "of the truth"])
@pytest.mark.parametrize("labels", [2, 10])
def test_a_wrong_label_is_never_the_true_one_however_sure_the_network_is(labels, sure):
    true = torch.randint(labels, (5_000, 1), generator=seeded())
    logits = sure * torch.nn.functional.one_hot(true[:, 0], labels).float()
    wrong = wrong_labels(logits, true, exponential(5_000, labels))
    assert not (wrong == true).any()
    assert wrong.unique().tolist() == list(range(labels))


@pytest.mark.parametrize("label", range(4))
def test_wrong_labels_are_drawn_from_the_softmax_over_the_wrong_ones(label):
    logits = GOODNESS.clone()
    logits[label] = -torch.inf
    torch.testing.assert_close(frequencies(GOODNESS, label), logits.softmax(0), rtol=0, atol=0.01)


@pytest.mark.parametrize("label", range(4))
def test_logits_of_zero_draw_every_wrong_label_alike(label):
    expected = torch.full((4,), 1 / 3)
    expected[label] = 0
    torch.testing.assert_close(frequencies(torch.zeros(4), label), expected, rtol=0, atol=0.01)


def test_each_row_has_a_draw_of_its_own_noise():
    logits, labels = torch.randn(64, 10, generator=seeded()), torch.randint(10, (64, 1), generator=seeded(1))
    noise = exponential(64, 10)
    expected = [
        plain_negative(*row) for row in zip(logits.tolist(), labels[:, 0].tolist(), noise.tolist(), strict=True)
    ]
    assert wrong_labels(logits, labels, noise)[:, 0].tolist() == expected


def test_drawing_leaves_its_arguments_alone():
    given = [torch.randn(8, 10, generator=seeded()), torch.zeros(8, 1, dtype=torch.int64), exponential(8, 10)]
    before = [tensor.clone() for tensor in given]
    wrong_labels(*given)
    assert all(torch.equal(one, other) for one, other in zip(given, before, strict=True))
