from __future__ import annotations

import pytest
import torch
from plain_forward import CODINGS, LABELS, TEMPERATURE, WIDTH, make_layer, plain_goodness, seeded, written_over

from ffstream.ff.labels import Assembly, disjoint_assemblies, random_assemblies, write_labels
from ffstream.ff.layers import Layer


def test_writing_labels_gives_each_row_a_path_a_label():
    rows = torch.rand(3, 6, generator=seeded())
    paths = write_labels(rows.unsqueeze(1), 4)
    assert torch.equal(paths, torch.stack([written_over(rows, label, 4) for label in range(4)], 1))


def test_writing_labels_leaves_the_rows_themselves_alone():
    rows = torch.rand(3, 1, 6, generator=seeded())
    before = rows.clone()
    write_labels(rows, 4)
    assert torch.equal(rows, before)


@pytest.mark.parametrize(("labels", "units"), [(2, 2), (3, 10), (10, 512), (7, 7), (10, 64)])
class TestDisjointAssemblies:
    def test_each_row_sums_to_one(self, labels, units):
        torch.testing.assert_close(disjoint_assemblies(labels, units).sum(1), torch.ones(labels))

    def test_each_label_owns_the_next_run_and_the_units_left_over_are_nobodys(self, labels, units):
        run = units // labels
        owners = [unit // run if unit < labels * run else None for unit in range(units)]
        expected = [[owner == label for owner in owners] for label in range(labels)]
        assert (disjoint_assemblies(labels, units) > 0).tolist() == expected

    def test_the_units_of_a_label_share_alike(self, labels, units):
        membership = disjoint_assemblies(labels, units)
        assert membership[membership > 0].unique().tolist() == pytest.approx([1 / (units // labels)])


@pytest.mark.parametrize(("units", "share", "size"), [(100, 0.3, 30), (64, 0.3, 19), (5, 0.01, 1), (8, 1.0, 8)])
def test_each_random_assembly_has_its_share_of_the_units(units, share, size):
    assert ((random_assemblies(6, units, share, seeded()) > 0).sum(1) == size).all()


@pytest.mark.parametrize(("units", "share"), [(100, 0.3), (64, 0.3), (5, 0.01), (8, 1.0)])
def test_each_row_of_random_assemblies_sums_to_one(units, share):
    torch.testing.assert_close(random_assemblies(6, units, share, seeded()).sum(1), torch.ones(6))


def test_random_assemblies_of_two_labels_overlap_without_being_the_same():
    first, second = random_assemblies(2, 100, 0.5, seeded()) > 0
    assert 0 < int((first & second).sum()) < 50


def test_random_assemblies_are_drawn_from_the_generator():
    assert torch.equal(random_assemblies(3, 50, 0.3, seeded(7)), random_assemblies(3, 50, 0.3, seeded(7)))
    assert not torch.equal(random_assemblies(3, 50, 0.3, seeded(7)), random_assemblies(3, 50, 0.3, seeded(8)))


def read(layer: Layer, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.coding.read(inputs @ layer.weight.T)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_coding_reads_the_goodness_of_the_formula(coding):
    layer = make_layer(coding)
    paths = LABELS if coding == "overlay" else 1
    inputs = torch.randn(5, paths, WIDTH, generator=seeded(3), dtype=torch.float64)
    expected = [plain_goodness(layer.coding, layer.weight, inputs[:, c % paths], c) for c in range(LABELS)]
    torch.testing.assert_close(read(layer, inputs)[0], torch.stack(expected, 1))


def test_runs_of_units_give_the_goodness_that_their_membership_gives():
    layer = make_layer("disjoint")
    inputs = torch.randn(5, 1, WIDTH, generator=seeded(3), dtype=torch.float64)
    by_membership = Assembly(layer.coding.membership, TEMPERATURE).read(inputs @ layer.weight.T)[0]
    torch.testing.assert_close(read(layer, inputs)[0], by_membership)


@pytest.mark.parametrize("coding", ["disjoint", "random", "context"])
def test_what_goes_on_to_the_next_layer_is_free_of_labels(coding):
    layer = make_layer(coding)
    inputs = torch.randn(5, 1, WIDTH, generator=seeded(3), dtype=torch.float64)
    torch.testing.assert_close(read(layer, inputs)[1], torch.relu(inputs @ layer.weight.T))
