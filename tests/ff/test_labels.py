from __future__ import annotations

import pytest
import torch
from plain_forward import CODINGS, LABELS, UNITS, WIDTH, make_layer, seeded, written_over

from ffstream.ff.goodness import Mean
from ffstream.ff.labels import Assembly, path_of, write_labels


def test_writing_labels_gives_each_row_a_path_a_label():
    rows = torch.rand(3, 6, generator=seeded())
    paths = write_labels(rows.unsqueeze(1), 4)
    assert torch.equal(paths, torch.stack([written_over(rows, label, 4) for label in range(4)], 1))


def test_the_neutral_path_comes_last_and_has_all_labels_in_equal_parts():
    rows = torch.rand(3, 6, generator=seeded())
    paths = write_labels(rows.unsqueeze(1), 4, neutral=True)
    torch.testing.assert_close(paths, torch.stack([written_over(rows, label, 4) for label in (*range(4), None)], 1))


@pytest.mark.parametrize("neutral", [True, False])
def test_writing_labels_leaves_the_rows_themselves_alone(neutral):
    rows = torch.rand(3, 1, 6, generator=seeded())
    before = rows.clone()
    write_labels(rows, 4, neutral=neutral)
    assert torch.equal(rows, before)


def test_the_paths_of_a_label_are_picked_row_by_row():
    rows, moved = torch.randn(3, 4, 2, generator=seeded()), torch.tensor([[1, 0], [3, 3], [0, 2]])
    expected = [[rows[row, label] for label in labels] for row, labels in enumerate(moved.tolist())]
    assert torch.equal(path_of(rows, moved), torch.stack([torch.stack(row) for row in expected]))


def test_where_there_is_one_path_or_all_are_moved_paths_are_as_they_are():
    rows = torch.randn(3, 4, 2, generator=seeded())
    assert path_of(rows, None) is rows
    assert torch.equal(path_of(rows[:, :1], torch.zeros(3, 2, dtype=torch.int64)), rows[:, :1])


def test_runs_of_units_give_the_goodness_that_their_membership_gives():
    coding = make_layer("disjoint").form.coding
    goodness = Mean(3.0, torch.square, lambda h: 2 * h, 2)
    hidden = torch.randn(5, 1, 1, 1, UNITS, generator=seeded(3), dtype=torch.float64)
    by_run, by_share = (goodness.read(hidden, c.pool()) for c in (coding, Assembly(coding.membership, UNITS // LABELS)))
    torch.testing.assert_close(by_run, by_share)


@pytest.mark.parametrize("coding", [coding for coding in CODINGS if coding != "overlay"])
def test_what_goes_on_to_the_next_layer_is_free_of_labels(coding):
    layer = make_layer(coding)
    inputs = torch.randn(5, 1, WIDTH, generator=seeded(3), dtype=torch.float64)
    torch.testing.assert_close(layer.read(inputs)[1], torch.relu(inputs @ layer.weight.T))


@pytest.mark.parametrize(
    ("coding", "parameters", "buffers"),
    [
        ("disjoint", set(), {"membership"}),
        ("random", set(), {"membership"}),
        ("learned", {"assemblies"}, set()),
        ("context", {"context"}, set()),
        ("overlay", set(), set()),
        ("none", set(), set()),
    ],
)
def test_a_coding_names_what_it_learns_and_what_a_checkpoint_must_hold(coding, parameters, buffers):
    made = make_layer(coding).form.coding
    assert (set(made.parameters()), set(made.buffers())) == (parameters, buffers)


def test_a_scaled_label_is_so_many_times_as_bright_as_the_brightest_pixel():
    rows = torch.rand(3, 1, 6, generator=seeded())
    paths = write_labels(rows, 2, scale=3.0)
    torch.testing.assert_close(paths[:, 1, 1], 3 * rows.amax((1, 2)))
    torch.testing.assert_close(paths[:, :, 2:], rows[:, :, 2:].expand(-1, 2, -1))
