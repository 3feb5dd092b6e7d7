from __future__ import annotations

import pytest
import torch
from plain_forward import plain_negative, seeded

from ffstream.ff.negatives import BLUR_PIXELS, CORRUPTIONS, NOISE, corrupt, wrong_labels

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


# --- corrupted inputs ---

KINDS = pytest.mark.parametrize("kind", CORRUPTIONS)
SHAPES = [(28, 28), (8, 8), (3, 8, 8), (64,), (2, 3, 4, 8)]


def values(count: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(count, torch.Size(shape).numel(), generator=seeded(7))


def greys(count: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return images of one grey each, no two alike: which pixel is of which image can be seen."""
    return (torch.arange(count)[:, None] / count).expand(-1, torch.Size(shape).numel())


@KINDS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 64])
def test_a_corrupted_copy_is_a_sample_like_the_others_but_no_image_stays_what_it_was(kind, shape, count):
    rows = values(count, shape)
    copies = corrupt(kind, rows, shape, seeded())
    assert (copies.shape, copies.dtype) == (rows.shape, torch.float32)
    assert copies.min() >= 0
    assert copies.max() <= 1
    assert not (copies == rows).all(1).any()
    assert torch.equal(rows, values(count, shape))


@KINDS
def test_an_empty_batch_stays_empty(kind):
    assert corrupt(kind, torch.empty(0, 64), (8, 8), seeded()).shape == (0, 64)


@pytest.mark.parametrize("kind", [kind for kind in CORRUPTIONS if kind != "blur"])
@pytest.mark.parametrize("count", [1, 64])
def test_the_same_seed_corrupts_the_same_way_and_the_generator_goes_on(kind, count):
    rows, generator = values(count, (28, 28)), seeded(1)
    first, second = (corrupt(kind, rows, (28, 28), generator) for _ in range(2))
    assert torch.equal(first, corrupt(kind, rows, (28, 28), seeded(1)))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("kind", "spread"), [("blur", (0.2, 0.9)), ("masks", (0.95, 1.05)), ("noise", (0.95, 1.2))])
def test_digits_keep_their_mean_and_about_their_spread(digits, kind, spread):
    rows = torch.from_numpy(digits[0]).reshape(-1, 64) / 255
    copies = corrupt(kind, rows, (8, 8), seeded())
    assert abs(copies.mean() - rows.mean()) < 0.05
    assert spread[0] < copies.std() / rows.std() < spread[1]


@pytest.mark.parametrize("kind", ["masks", "shuffled"])
def test_hardly_a_digit_looks_like_itself_again(digits, kind):
    rows = torch.from_numpy(digits[0]).reshape(-1, 64) / 255
    same = ((corrupt(kind, rows, (8, 8), seeded()) - rows).abs() < 0.1).all(1)
    assert same.float().mean() < 0.001


@pytest.mark.parametrize("shape", [(28, 28), (3, 8, 8), (64,), (4,)])
@pytest.mark.parametrize("count", [2, 3, 64])
def test_a_hybrid_shows_two_images_of_which_one_is_its_own_and_each_is_the_other_of_one(shape, count):
    for seed in range(50):
        rows = greys(count, shape)
        hybrids = corrupt("masks", rows, shape, seeded(seed))
        shown = [set(hybrid.unique().tolist()) for hybrid in hybrids]
        own = [grey.item() for grey in rows[:, 0]]
        assert all(len(two) == 2 and grey in two for two, grey in zip(shown, own, strict=True))
        others = [(two - {grey}).pop() for two, grey in zip(shown, own, strict=True)]
        assert sorted(others) == own


def test_a_hybrid_is_real_in_small_and_mixed_at_large():
    hybrids = corrupt("masks", greys(2_000, (28, 28)), (28, 28), seeded()).view(-1, 28, 28)
    for axis in (1, 2):
        near, far = (
            (hybrids.narrow(axis, 0, 28 - d) != hybrids.narrow(axis, d, 28 - d)).float().mean() for d in (1, 20)
        )
        # Blurred k times, a line crosses its mean every π√k pixels.
        assert near == pytest.approx(1 / (torch.pi * 8**0.5), abs=0.02)
        assert far > 0.45


def test_a_single_image_meets_itself_turned_by_180_degrees():
    row = torch.arange(784.0)[None] / 784
    hybrid = corrupt("masks", row, (28, 28), seeded())
    assert ((hybrid == row) | (hybrid == row.flip(1))).all()
    assert 0.2 < (hybrid == row).float().mean() < 0.8


@pytest.mark.parametrize("kind", ["masks", "shuffled"])
def test_all_channels_of_a_pixel_go_together(kind):
    rows = values(16, (8, 8)).repeat(1, 3) + torch.arange(3).repeat_interleave(64)
    first, *others = corrupt(kind, rows, (3, 8, 8), seeded()).view(16, 3, 64).unbind(1)
    for number, channel in enumerate(others, start=1):
        torch.testing.assert_close(channel, first + number)


def test_a_blurred_dot_is_a_gaussian_in_its_channel_and_in_one_dimension_in_its_line():
    place = torch.arange(33.0) - 16
    bell = torch.exp(-(place**2) / (2 * BLUR_PIXELS**2))
    bell /= bell.sum()
    dot = torch.zeros(1, 2, 33, 33)
    dot[0, 1, 16, 16] = 1
    blurred = corrupt("blur", dot.flatten(1), (2, 33, 33), seeded()).view(2, 33, 33)
    torch.testing.assert_close(blurred, torch.stack([torch.zeros(33, 33), torch.outer(bell, bell)]), rtol=0, atol=1e-5)
    line = torch.zeros(1, 33)
    line[0, 16] = 1
    torch.testing.assert_close(corrupt("blur", line, (33,), seeded())[0], bell, rtol=0, atol=1e-5)


def test_noise_is_added_to_each_value_and_what_leaves_the_range_is_clipped():
    added = corrupt("noise", torch.full((4, 10_000), 0.5), (10_000,), seeded()) - 0.5
    inside = torch.distributions.Normal(0, NOISE).cdf(torch.tensor(0.5)) * 2 - 1
    assert (added.abs() < 0.5).float().mean() == pytest.approx(inside.item(), abs=0.01)
    assert abs(added.mean()) < 0.01
    assert added.unique().numel() > 10_000


def test_shuffling_keeps_the_pixels_and_gives_each_place_an_equal_chance():
    ramp = (torch.arange(16.0) / 16).expand(8_000, -1)
    copies = corrupt("shuffled", ramp, (4, 4), seeded())
    assert torch.equal(copies.sort(1).values, ramp)
    chances = torch.stack([(copies == grey).float().mean(0) for grey in ramp[0]])
    torch.testing.assert_close(chances, torch.full((16, 16), 1 / 16), rtol=0, atol=0.015)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@KINDS
def test_a_gpu_corrupts_where_the_rows_are(kind):
    rows, generator = values(64, (3, 32, 32)).cuda(), torch.Generator("cuda").manual_seed(1)
    copies = corrupt(kind, rows, (3, 32, 32), generator)
    assert copies.device == rows.device
    assert not (copies == rows).all(1).any()
    assert torch.equal(copies, corrupt(kind, rows, (3, 32, 32), generator.manual_seed(1)))
