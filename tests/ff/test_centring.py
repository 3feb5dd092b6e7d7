"""Inputs are centred on a running mean that only rows learned from reach."""

from __future__ import annotations

import pytest
import torch
from plain_forward import (
    CODINGS,
    LABELS,
    NETWORKS,
    PHASES,
    RULES,
    copy_of,
    equal,
    learn,
    make_network,
    make_rows,
    plain_inputs,
)

from ffstream.ff.judging import CENTRED, CENTRING, enter
from ffstream.ff.network import Network

LEARNING, QUERIES = 8, 5


def paths(network: Network) -> list[int | None]:
    """Return the label of each path that a row takes; ``None`` is the neutral one, for a read-out."""
    if network.config.coding != "overlay":
        return [0]
    return [*range(LABELS), *([None] if network.readout else [])]


@pytest.mark.parametrize("m", [1, LEARNING, 2 * CENTRED])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "minimised"])
def test_every_centre_moves_towards_the_rows_learned_from(name, phase, m):
    network = make_network(name, rate=1e-3)
    for seed in range(3):
        rows = make_rows(m + QUERIES, seed)
        centres = [network.centre, *(layer.running.centre for layer in network.layers)]
        by_path = [plain_inputs(network, rows, label) for label in paths(network)]
        onward = [torch.stack(inputs) for inputs in zip(*by_path, strict=True)]
        share = CENTRING * min(1, CENTRED / m)
        expected = [
            # Each path of a row, and each place that shares a centre, counts alike.
            centre + share * x[:, :m].unflatten(2, (-1, len(centre))).mean((0, 2)).sum(0)
            for centre, x in zip(centres, onward, strict=True)
        ]
        before = [centre.clone() for centre in centres]
        learn(network, rows, m, phase)
        for i, centre in enumerate(centres):
            torch.testing.assert_close(centre, expected[i], rtol=1e-4, atol=1e-6)
            assert not torch.equal(centre, before[i])


def test_without_centring_rows_are_normalised_alone():
    network = make_network("minimised")
    learn(network, make_rows(LEARNING), LEARNING)
    assert not any(centre.any() for centre in (network.centre, *(layer.running.centre for layer in network.layers)))


@pytest.mark.parametrize("coding", CODINGS)
def test_the_centre_comes_to_lie_in_the_middle_of_the_rows(coding):
    network = make_network(coding)
    for seed in range(100):
        learn(network, make_rows(32, seed) + 3, 32)
    middle = torch.stack([plain_inputs(network, make_rows(1_000) + 3, label)[0] for label in paths(network)])
    assert middle.mean((0, 1)).abs().max() < 0.1
    assert network.centre.abs().min() > 0.1


def test_the_share_of_a_row_is_its_weight():
    rows, weight = torch.randn(3, 1, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([[0.5], [0.0], [1.0]])
    centre = torch.full((6,), 0.25)
    entered = enter(rows, centre, weight)
    moved = CENTRING * (0.5 * entered[0, 0] + entered[2, 0])
    torch.testing.assert_close(centre, torch.full((6,), 0.25) + moved)


@pytest.mark.parametrize("lesson", [True, False])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", [*NETWORKS, "none"])
def test_a_query_that_is_not_finite_reaches_no_tensor_of_the_network(name, phase, value, lesson):
    asked, unasked = make_network(name), make_network(name)
    rows = make_rows(LEARNING + QUERIES)
    spoilt = rows.clone()
    spoilt[LEARNING] = value
    spoilt[LEARNING + 2, 4] = value
    for network, given in ((asked, spoilt), (unasked, rows)):
        learn(network, given, LEARNING, phase) if lesson else network.sweep(given)
    assert all(tensor.isfinite().all() for tensor in asked.state().values())
    assert equal(copy_of(asked), copy_of(unasked))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("coding", CODINGS)
def test_no_rule_remembers_a_query_that_is_not_finite(coding, rule):
    asked, unasked = make_network(coding, rule), make_network(coding, rule)
    rows = make_rows(LEARNING + QUERIES)
    learn(unasked, rows, LEARNING)
    rows[LEARNING:] = torch.nan
    learn(asked, rows, LEARNING)
    assert equal(copy_of(asked), copy_of(unasked))


@pytest.mark.parametrize("name", [*NETWORKS, "none"])
def test_a_query_that_is_not_finite_spoils_no_other_answer(name):
    rows = make_rows(LEARNING + QUERIES)
    expected = make_network(name).sweep(rows)
    rows[LEARNING + 2] = torch.nan
    found = make_network(name).sweep(rows)
    others = torch.arange(len(rows)) != LEARNING + 2
    assert torch.equal(found.total[others], expected.total[others])
    assert torch.equal(found.evidence[others], expected.evidence[others])
    assert torch.equal(found.goodness[others], expected.goodness[others])
