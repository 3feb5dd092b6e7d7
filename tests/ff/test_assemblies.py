from __future__ import annotations

import pytest
import torch
from plain_forward import CODED, LABELS, TEMPERATURE, UNITS, make_layer, make_network, seeded

from ffstream.ff.assemblies import disjoint_assemblies, random_assemblies, whole


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


@pytest.mark.parametrize(("half", "size"), [(False, 7), (True, 3)])
def test_the_whole_shares_alike_among_all_units_or_the_first_half(half, size):
    share, counted = whole(7, half=half)
    assert counted == size
    assert share.flatten().tolist() == pytest.approx([1 / size] * size + [0] * (7 - size))


@pytest.mark.parametrize(("coding", "owners"), [("disjoint", {0, 1}), ("random", {0, 1, 2})])
def test_assemblies_are_those_of_the_configuration(coding, owners):
    membership = make_network(coding).layers[0].form.coding.membership
    assert owners <= set((membership > 0).sum(0).tolist())
    assert (coding == "disjoint") == ((membership > 0).sum(0) <= 1).all()


@pytest.mark.parametrize(("regions", "count"), [(1, 1), (2, 4), (0, 8)])
@pytest.mark.parametrize("kind", ["local", "convolution"])
def test_learned_assemblies_begin_as_disjoint_ones_in_each_region(kind, regions, count):
    layer = {"kind": kind, "units": 9, "kernel": 2, "regions": regions}
    (made,) = make_network("learned", shape=(2, 3, 5), layers=(layer,)).layers
    units = 9 * (8 // count if kind == "local" else 1)
    weights = made.state()["assemblies"].view(LABELS, count, units)
    for region in range(count):
        # A mean over the run that a label owns is the plain mean times what makes up for its share.
        torch.testing.assert_close(weights[:, region] / units, disjoint_assemblies(LABELS, units))


def test_a_learned_assembly_may_speak_against_a_label():
    layer = make_layer("learned")
    weights = layer.state()["assemblies"]
    hidden = torch.rand(3, 1, 1, 1, UNITS, generator=seeded(), dtype=torch.float64)
    weights[0] = -1
    goodness = layer.form.goodness.read(hidden, layer.form.coding.pool())[:, 0, 0]
    torch.testing.assert_close(goodness, -TEMPERATURE * hidden.square().flatten(1).mean(1))


@pytest.mark.parametrize("regions", [1, 2, 0])
def test_the_units_of_receptive_fields_are_dealt_so_that_no_label_owns_a_part_of_the_image(regions):
    layer = {"kind": "local", "units": 40, "kernel": 2, "regions": regions}
    (made,) = make_network("disjoint", shape=(2, 3, 5), layers=(layer,)).layers
    owned = made.form.coding.membership > 0
    places = {1: 8, 2: 2, 0: 1}[regions]
    assert owned.sum(1).tolist() == [40 * places // LABELS] * LABELS
    assert (owned.sum(0) <= 1).all()
    assert owned.view(LABELS, places, 40).any(2).all()


def test_what_a_coding_lays_out_it_can_part_again():
    layer = {"kind": "convolution", "units": 9, "kernel": 2, "regions": 2}
    for coding in CODED:
        form = make_layer(coding, shape=(2, 3, 5), layers=(layer,)).form
        parts = torch.randn(3, 1, 4, 2, 9, generator=seeded())
        assert torch.equal(form.coding.part(form.coding.lay(parts)), parts)
