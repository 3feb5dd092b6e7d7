"""Adding a lesson block by block, which is faster, moves the weights as one dense product does."""

from __future__ import annotations

import pytest
import torch
from plain_forward import (
    IMAGE_LAYERS,
    LABELS,
    PHASES,
    UNITS,
    copy_of,
    learn,
    make_labels,
    make_network,
    make_rows,
    relative_error,
)

from ffstream.ff import labels
from ffstream.ff.assemblies import disjoint_assemblies
from ffstream.ff.gradients import Blocks, Factors
from ffstream.ff.lesson import Phase

RUN = UNITS // LABELS
FREE, DEAR = (dict.fromkeys(labels.BLOCK_COST, cost) for cost in (0, 10**18))


@pytest.fixture
def blocks_seen(monkeypatch):
    """Collect, of every update, the blocks that it is made of, or ``None`` where it is dense."""
    seen: list[Blocks | None] = []
    blocks = labels.Assembly.blocks

    def watched(*arguments):
        seen.append(blocks(*arguments))
        return seen[-1]

    monkeypatch.setattr(labels.Assembly, "blocks", watched)
    return seen


def moved(monkeypatch, cost, **network):
    """Return how far some steps move every tensor where a block costs so much."""
    monkeypatch.setattr(labels, "BLOCK_COST", cost)
    made = make_network("disjoint", **network.pop("network", {}))
    before = copy_of(made)
    for seed in range(3):
        learn(made, make_rows(23, seed), 20, seed=seed, **network)
    return {name: tensor.float() - before[name].float() for name, tensor in made.state().items()}


@pytest.mark.parametrize("rule", ["in_place", "unit", "factored"])
@pytest.mark.parametrize("phase", PHASES)
def test_blocks_move_the_weights_as_one_dense_product_does(monkeypatch, blocks_seen, phase, rule):
    dense = moved(monkeypatch, DEAR, phase=phase, network={"rule": rule})
    assert blocks_seen == [None] * 6
    blockwise = moved(monkeypatch, FREE, phase=phase, network={"rule": rule})
    assert all(blocks_seen[6:])
    for name in ("0.weight", "1.weight", "0.centre", "centre"):
        assert relative_error(blockwise[name], dense[name]) < 1e-4


@pytest.mark.parametrize("rounding", ["stochastic", "master"])
def test_blocks_move_rounded_weights_as_far_as_one_dense_product_does(monkeypatch, rounding):
    rounded = {"precision": "bfloat16", "rounding": rounding, "rate": 0.02}
    dense, blockwise = (moved(monkeypatch, cost, network=rounded) for cost in (DEAR, FREE))
    # Each draws a noise of its own, so they agree as far as bfloat16 shows.
    torch.testing.assert_close(blockwise["0.weight"], dense["0.weight"], rtol=0, atol=0.03)
    assert float(dense["0.weight"].abs().max()) > 0.1


@pytest.mark.parametrize("phase", PHASES)
def test_a_block_holds_the_rows_that_teach_its_units(monkeypatch, blocks_seen, phase):
    monkeypatch.setattr(labels, "BLOCK_COST", FREE)
    network = make_network("disjoint")
    gradients = []
    monkeypatch.setattr(network.layers[0].rule, "apply", gradients.append)
    learn(network, make_rows(23), 20, phase)
    (gradient,) = gradients
    numbers = torch.arange(20.0).unsqueeze(1)
    left = gradient.delta.clone()
    for units, delta, numbered in gradient.blocks.cut(gradient.delta, numbers):
        rows = numbered[:, 0].long().tolist()
        taught = gradient.delta[:, units].any(1).nonzero()[:, 0].tolist()
        assert set(taught) <= set(rows)
        assert len(set(rows)) == len(rows)
        assert torch.equal(delta, gradient.delta[rows, units])
        left[rows, units] = 0
    assert not left.any()
    targets = 2 if phase is Phase.TOGETHER else 1
    assert sum(gradient.blocks.counts) == 20 * targets


def test_a_label_that_no_row_has_is_no_block(monkeypatch, blocks_seen):
    monkeypatch.setattr(labels, "BLOCK_COST", FREE)
    learn(make_network("disjoint"), make_rows(3), 2, Phase.WAKE)
    taught = sorted(set(make_labels(2).tolist()))
    cut = blocks_seen[0].cut(torch.zeros(2, UNITS), torch.zeros(2, 1))
    assert [units for units, _, _ in cut] == [slice(c * RUN, (c + 1) * RUN) for c in taught]


@pytest.mark.parametrize("coding", ["random", "context", "overlay", "learned"])
def test_only_disjoint_assemblies_are_taught_in_blocks(monkeypatch, coding):
    monkeypatch.setattr(labels, "BLOCK_COST", FREE)
    network = make_network(coding)
    gradients = []
    for layer in network.layers:
        monkeypatch.setattr(layer.rule, "apply", gradients.append)
    learn(network, make_rows(23), 20)
    assert [gradient.blocks for gradient in gradients] == [None, None]


def test_a_wide_layer_taught_many_rows_is_taught_in_blocks_and_a_small_one_is_not():
    targets = torch.arange(64).remainder(10).unsqueeze(1)
    wide, narrow = (labels.Assembly(disjoint_assemblies(10, units), units // 10, units // 10) for units in (4_000, 40))
    assert wide.blocks(targets, torch.zeros(64, 1, 4_000)).counts == [7] * 4 + [6] * 6
    assert narrow.blocks(targets, torch.zeros(64, 1, 40)) is None


@pytest.mark.parametrize("options", [{"against": "labels"}, {"shape": (3, 3), "layers": IMAGE_LAYERS}], ids=str)
def test_layers_that_move_all_labels_or_lie_in_images_are_taught_at_once(monkeypatch, options):
    monkeypatch.setattr(labels, "BLOCK_COST", FREE)
    network = make_network("disjoint", **options)
    gradients = []
    for layer in network.layers:
        monkeypatch.setattr(layer.rule, "apply", gradients.append)
    learn(network, make_rows(23), 20)
    assert len(gradients) == 2
    assert not any(isinstance(gradient, Factors) and gradient.blocks for gradient in gradients)
