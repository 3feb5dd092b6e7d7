"""Negatives that are corrupted inputs: the sweep makes them, and its caller sees their rows nowhere."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from plain_forward import (
    PHASES,
    copy_of,
    equal,
    learn,
    make_labels,
    make_network,
    make_rows,
    plain_inputs,
    plain_layers,
    plain_scores,
    seeded,
)
from torch import Tensor

from ffstream.ff.judging import CENTRING
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.negatives import Corruption, corrupt
from ffstream.ff.network import Network
from ffstream.ff.scores import Scores

LEARNING, QUERIES = 8, 5
KINDS = get_args(Corruption)
IMAGE = {"shape": (3, 3)}
# Of each coding, what goodness is held against, and where the units lie.
CORRUPTED = {
    "none": {},
    "disjoint": {"negatives": "shuffled"},
    "context": {"negatives": "shuffled"},
    "overlay": {"negatives": "shuffled"},
    "images": {"negatives": "shuffled"},
    "against labels": {"negatives": "shuffled", "peer": 0.0},
}


def make(name: str, **network: object) -> Network:
    return make_network(name, **{**CORRUPTED[name], **network})


def corrupted(network: Network, rows: Tensor, seed: int = 3) -> Tensor:
    return corrupt(network.config.corruption, rows, network.config.shape, seeded(seed))


def labels_of(network: Network, m: int) -> Tensor:
    return make_labels(m) if network.config.coding != "none" else torch.zeros(m, dtype=torch.int64)


def shown(network: Network, rows: Tensor, m: int) -> Tensor:
    """Return the goodness (m, layers) that rows show under their own labels."""
    goodness = plain_scores(network, rows)
    return goodness[torch.arange(m), :, labels_of(network, m)]


@pytest.mark.parametrize("m", [LEARNING, 2 * LEARNING])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", CORRUPTED)
def test_real_rows_rise_and_corrupted_ones_fall_under_their_own_label(name, phase, m):
    network, twin = make(name), make(name)
    rows = make_rows(m + QUERIES)
    learn(network, rows, m, phase)
    taught = [(rows[:m], 1.0)] * phase.raises + [(corrupted(twin, rows[:m]), 0.0)] * phase.lowers
    losses = [torch.zeros(())] * len(twin.layers)
    layers = plain_layers(twin)
    for plain in layers:
        plain.tensors["weight"].requires_grad_()
    for given, sign in taught:
        paths = [plain_inputs(twin, given, c) for c in range(twin.config.labels)]
        signs, weights = torch.full((m, 1), sign), torch.ones(m)
        for depth, plain in enumerate(layers):
            inputs = [path[depth] for path in paths[: plain.labels]]
            losses[depth] = losses[depth] + plain.lesson(inputs, labels_of(twin, m)[:, None], signs, weights)[0]
    torch.stack(losses).sum().backward()
    for plain, layer in zip(layers, network.layers, strict=True):
        before = plain.tensors["weight"]
        moved = layer.weight - before.detach()
        torch.testing.assert_close(moved, -0.01 * before.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", CORRUPTED)
def test_what_is_shown_is_the_goodness_of_the_real_rows_and_of_their_copies(name, phase):
    network, twin, rows = make(name), make(name), make_rows(LEARNING + QUERIES)
    scores = learn(network, rows, LEARNING, phase)
    taught = [rows[:LEARNING]] * phase.raises + [corrupted(twin, rows[:LEARNING])] * phase.lowers
    expected = torch.stack([shown(twin, given, LEARNING) for given in taught], 2)
    torch.testing.assert_close(scores.shown, expected, rtol=1e-4, atol=1e-5)
    assert scores.real.shape == expected.shape


@pytest.mark.parametrize("phase", [Phase.WAKE, Phase.TOGETHER])
@pytest.mark.parametrize("name", CORRUPTED)
def test_the_rows_of_the_caller_come_back_in_order(name, phase):
    network, twin, rows = make(name), make(name), make_rows(LEARNING + QUERIES)
    found, goodness = learn(network, rows, LEARNING, phase), plain_scores(twin, rows)
    torch.testing.assert_close(found.total, goodness.sum(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.goodness, goodness[LEARNING:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.evidence, twin.sweep(rows).evidence, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CORRUPTED)
def test_asleep_the_rows_that_are_scored_are_the_corrupted_ones(name):
    network, twin, rows = make(name), make(name), make_rows(LEARNING + QUERIES)
    found = learn(network, rows, LEARNING, Phase.SLEEP)
    given = torch.cat([corrupted(twin, rows[:LEARNING]), rows[LEARNING:]])
    torch.testing.assert_close(found.total, plain_scores(twin, given).sum(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", CORRUPTED)
def test_learning_leaves_every_answer_bit_for_bit_as_it_is(name, phase, precision):
    taught, still = (make(name, precision=precision) for _ in range(2))
    still.anneal(0.0)
    rows = make_rows(LEARNING + QUERIES)
    found, expected = (learn(network, rows, LEARNING, phase) for network in (taught, still))
    for values in ("total", "goodness", "evidence", "shown", "real"):
        assert torch.equal(getattr(found, values), getattr(expected, values))
    assert not torch.equal(taught.layers[0].weight, still.layers[0].weight)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", CORRUPTED)
def test_the_answer_to_a_query_does_not_depend_on_the_lesson(name, phase):
    one, other, rows = make(name), make(name), make_rows(LEARNING + QUERIES)
    expected = learn(one, rows, LEARNING, phase)
    rows[:LEARNING] = 7 * make_rows(LEARNING, 6)
    found = other.sweep(rows, Lesson(make_labels(LEARNING, 9), phase), seeded(8))
    assert torch.equal(found.total[LEARNING:], expected.total[LEARNING:])
    assert torch.equal(found.goodness, expected.goodness)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", CORRUPTED)
def test_a_query_that_is_not_finite_reaches_no_tensor_of_the_network(name, phase):
    asked, unasked, rows = make(name), make(name), make_rows(LEARNING + QUERIES)
    learn(unasked, rows, LEARNING, phase)
    rows[LEARNING:] = torch.nan
    learn(asked, rows, LEARNING, phase)
    assert equal(copy_of(asked), copy_of(unasked))


@pytest.mark.parametrize("name", CORRUPTED)
def test_awake_nothing_is_corrupted_and_no_generator_is_asked_for(name):
    network, twin, rows = make(name), make(name), make_rows(LEARNING)
    network.sweep(rows, Lesson(make_labels(LEARNING), Phase.WAKE))
    learn(twin, rows, LEARNING, Phase.WAKE)
    assert equal(copy_of(network), copy_of(twin))


@pytest.mark.parametrize("phase", [Phase.SLEEP, Phase.TOGETHER])
def test_a_lesson_that_lowers_goodness_needs_a_generator(phase):
    with pytest.raises(ValueError, match="generator"):
        make("none").sweep(make_rows(2), Lesson(make_labels(2), phase))


def test_corrupted_copies_reach_the_centre_as_real_rows_do():
    network, rows = make("none"), make_rows(LEARNING)
    both = torch.cat([plain_inputs(network, given, 0)[0] for given in (rows, corrupted(network, rows))])
    learn(network, rows, LEARNING)
    torch.testing.assert_close(network.centre, CENTRING * both.sum(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phase", PHASES)
def test_every_corruption_can_be_learned_from_and_is_repeated_bit_for_bit(kind, phase):
    one, same = (make_network("none", negatives=kind, **IMAGE) for _ in range(2))
    before = copy_of(one)
    for network in (one, same):
        learn(network, make_rows(LEARNING + QUERIES).sigmoid(), LEARNING, phase)
    assert equal(copy_of(one), copy_of(same))
    assert not torch.equal(one.layers[1].weight, before["1.weight"])


@pytest.mark.parametrize("kind", ["masks", "noise", "shuffled"])
def test_another_generator_corrupts_in_another_way(kind):
    one, other = (make_network("none", negatives=kind, **IMAGE) for _ in range(2))
    for network, seed in ((one, 3), (other, 4)):
        learn(network, make_rows(LEARNING).sigmoid(), LEARNING, Phase.SLEEP, seed)
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)


def test_an_unsupervised_network_comes_to_tell_real_rows_from_shuffled_ones():
    network, generator = make_network("none", rate=3e-3), seeded(5)
    scores: Scores | None = None
    for _ in range(300):
        # Real rows rise from the first value to the last.
        rows = torch.linspace(-2, 2, 9) + 0.3 * torch.randn(32, 9, generator=generator)
        scores = network.sweep(rows, Lesson(torch.full((32,), -1), Phase.TOGETHER), generator)
    assert scores is not None
    assert float((scores.real[:, -1, 0] > scores.real[:, -1, 1]).float().mean()) > 0.95
