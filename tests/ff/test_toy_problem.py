"""A small network learns a separable toy problem."""

from __future__ import annotations

import pytest
import torch
from plain_forward import CODINGS, LABELS, OPTIONS, RULES, WIDTH, make_network, seeded
from torch import Tensor

from ffstream.ff.lesson import Lesson, Phase

RATES = {"in_place": 3e-3, "unit": 3e-3, "factored": 3e-3, "momentum": 3e-3, "adam": 3e-3}
PRECISIONS = [("float32", "nearest"), ("bfloat16", "nearest"), ("bfloat16", "stochastic"), ("bfloat16", "master")]
ALTERNATING = [Phase.WAKE, Phase.SLEEP]


def draw_blobs(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points around one centre a label."""
    centres = 2.0 * torch.eye(WIDTH)[-LABELS:]
    labels = torch.randint(LABELS, (count,), generator=generator)
    return centres[labels] + 0.4 * torch.randn(count, WIDTH, generator=generator), labels


def accuracy(coding: str, rule: str, phases: list[Phase], steps: int = 300, **network: str) -> float:
    """Learn for some steps, then return the share of fresh points that are recognised."""
    made, generator = make_network(coding, rule, rate=RATES[rule], **network), seeded(11)
    for step in range(steps):
        rows, labels = draw_blobs(32, generator)
        made.sweep(rows, Lesson(labels, phases[step % len(phases)]), generator)
    rows, labels = draw_blobs(1_000, generator)
    return float((made.sweep(rows).labels() == labels).float().mean())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("phases", [[Phase.TOGETHER], ALTERNATING], ids=["together", "alternating"])
def test_a_small_network_learns_a_separable_problem(coding, rule, phases):
    assert accuracy(coding, rule, phases) > 0.85


@pytest.mark.parametrize("phases", [[Phase.TOGETHER], ALTERNATING], ids=["together", "alternating"])
# Six channels of a single layer, of which each label has two, are too few for it.
@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "channels"])
def test_a_small_network_learns_with_every_option(name, phases):
    assert accuracy(name, "in_place", phases) > 0.9


@pytest.mark.parametrize("negatives", ["shuffled", "masks"])
def test_a_read_out_learns_from_layers_that_learn_without_labels(negatives):
    assert accuracy("none", "in_place", [Phase.TOGETHER], negatives=negatives) > 0.9


@pytest.mark.parametrize(("precision", "rounding"), PRECISIONS)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_small_network_learns_in_every_precision(coding, precision, rounding):
    assert accuracy(coding, "in_place", ALTERNATING, precision=precision, rounding=rounding) > 0.9


@pytest.mark.parametrize("coding", CODINGS)
def test_the_problem_is_not_solved_without_learning(coding):
    assert accuracy(coding, "in_place", ALTERNATING, steps=0) < 0.6
