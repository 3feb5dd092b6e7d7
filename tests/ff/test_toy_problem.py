"""A small network learns a separable toy problem."""

from __future__ import annotations

import pytest
import torch
from plain_forward import CODINGS, LABELS, RULES, WIDTH, make_network, seeded
from torch import Tensor

from ffstream.ff.layers import Lesson, Phase

RATES = {"adam": 0.003, "in_place": 0.1}


def draw_blobs(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw points around one centre a label."""
    centres = 2.0 * torch.eye(WIDTH)[-LABELS:]
    labels = torch.randint(LABELS, (count,), generator=generator)
    return centres[labels] + 0.4 * torch.randn(count, WIDTH, generator=generator), labels


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("phases", [[Phase.TOGETHER], [Phase.WAKE, Phase.SLEEP]], ids=["together", "alternating"])
def test_a_small_network_learns_a_separable_problem(coding, rule, phases):
    network, generator = make_network(coding, rule, rate=RATES[rule]), seeded(11)
    for step in range(300):
        rows, labels = draw_blobs(32, generator)
        network.sweep(rows, Lesson(labels, phases[step % len(phases)]), generator)
    rows, labels = draw_blobs(1_000, generator)
    accuracy = (network.sweep(rows).labels() == labels).float().mean()
    assert accuracy > 0.9
