"""A lesson whose rows need not be predicted takes two paths a row under overlay coding, and teaches the same."""

from __future__ import annotations

import pytest
import torch
from plain_forward import LABELS, copy_of, equal, make_labels, make_network, make_rows, seeded

from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network

LEARNING, QUERIES = 12, 3


def taught(network: Network, rows: torch.Tensor, phase: Phase, *, scored: bool) -> dict[str, torch.Tensor]:
    network.sweep(rows, Lesson(make_labels(LEARNING), phase, scored), seeded(4))
    return copy_of(network)


@pytest.mark.parametrize("negatives", ["uniform", "belief"])
@pytest.mark.parametrize("readout", ["none", "all"])
def test_awake_it_moves_every_weight_as_a_scored_one_does(readout, negatives):
    one, other = (make_network("overlay", negatives=negatives, readout=readout) for _ in range(2))
    rows = make_rows(LEARNING)
    expected, found = taught(one, rows, Phase.WAKE, scored=True), taught(other, rows, Phase.WAKE, scored=False)
    for name, tensor in expected.items():
        # The running means are of the paths that were sent.
        if "centre" not in name:
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_wrong_label_is_the_one_that_the_first_layer_believes():
    network, rows = make_network("overlay", temperature=1e4), make_rows(LEARNING)
    felt = next(network.look(rows))[0].scatter(1, make_labels(LEARNING).unsqueeze(1), -torch.inf)
    shown = network.sweep(rows, Lesson(make_labels(LEARNING), Phase.SLEEP, scored=False), seeded()).shown
    # At so high a temperature the draw is the label of the largest goodness.
    torch.testing.assert_close(shown[:, 0, 0], felt.amax(1))


def test_a_uniform_wrong_label_is_any_whatever_the_first_layer_believes():
    rows, chosen = make_rows(LEARNING), []
    for temperature in (1.0, 1e4):
        network = make_network("overlay", negatives="uniform", temperature=temperature)
        felt = next(network.look(rows))[0]
        shown = network.sweep(rows, Lesson(make_labels(LEARNING), Phase.SLEEP, scored=False), seeded()).shown
        chosen.append((felt - shown[:, 0]).abs().argmin(1))
    assert torch.equal(*chosen)
    assert len(chosen[0].unique()) > 1


@pytest.mark.parametrize("negatives", ["uniform", "belief"])
@pytest.mark.parametrize("phase", [Phase.SLEEP, Phase.TOGETHER])
def test_the_wrong_label_falls_and_is_never_the_true_one(phase, negatives):
    network, rows = make_network("overlay", negatives=negatives, rate=0.01), make_rows(LEARNING)
    lesson = Lesson(make_labels(LEARNING), phase, scored=False)
    first = network.sweep(rows, lesson, seeded(4)).shown[:, :, -1].mean()
    for _ in range(30):
        last = network.sweep(rows, lesson, seeded(4)).shown[:, :, -1].mean()
    assert last < first
    assert set(network.sweep(rows).labels().tolist()) <= set(range(LABELS))


@pytest.mark.parametrize("prediction", ["readout", "cascade"])
def test_a_network_that_predicts_by_a_read_out_learns_unscored(prediction):
    network = make_network("overlay", readout="all", prediction=prediction, shortlist=2)
    before = copy_of(network)
    after = taught(network, make_rows(LEARNING), Phase.TOGETHER, scored=False)
    assert not equal(before, after)


@pytest.mark.parametrize("coding", ["disjoint", "context"])
def test_where_one_path_serves_all_labels_it_is_as_any_lesson(coding):
    one, other = (make_network(coding) for _ in range(2))
    rows = make_rows(LEARNING)
    assert equal(taught(one, rows, Phase.TOGETHER, scored=True), taught(other, rows, Phase.TOGETHER, scored=False))


def test_beside_queries_it_is_as_any_lesson():
    one, other = (make_network("overlay", negatives="uniform") for _ in range(2))
    rows = make_rows(LEARNING + QUERIES)
    assert equal(taught(one, rows, Phase.WAKE, scored=True), taught(other, rows, Phase.WAKE, scored=False))
