from __future__ import annotations

import numpy as np
import pytest
import torch

from ffstream.inspection.activities import compare, draw
from ffstream.inspection.probe import network_of, remembered

CONVOLUTION = {"kind": "convolution", "units": 20, "kernel": 3, "padding": 1, "pool": 2}
LOCAL = {"kind": "local", "units": 6, "kernel": 4, "stride": 2}
UNSUPERVISED = {"coding": "none", "negatives": "masks", "readout": "all", "prediction": "readout"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def compared(train, seed=0, **network):
    snapshot = train(**network).snapshot()
    made = network_of(snapshot)
    samples = remembered(snapshot).draw(64, seeded(seed))
    return made, samples, compare(made, samples, seeded(seed))


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"assemblies": "random"},
        {"coding": "context"},
        {"coding": "overlay", "readout": "all"},
        {"negatives": "blur"},
        UNSUPERVISED,
        {"layers": [CONVOLUTION, {"units": 30}]},
        {"coding": "overlay", "layers": [CONVOLUTION, {"units": 30}]},
        {"coding": "context", "layers": [LOCAL, {"units": 30}]},
        {"layers": [LOCAL, {"units": 30}]},
    ],
)
def test_the_goodness_that_is_told_is_that_of_the_activities_that_are_shown(train, network):
    _, _, versions = compared(train, **network)
    for version in versions:
        told = [layer["goodness"] for layer in version.numbers()["layers"]]
        for goodness, activities, counted in zip(told, version.activities, version.counted, strict=True):
            assert goodness == pytest.approx(8 * float(activities[counted].square().mean()), rel=1e-3)


def test_under_assembly_coding_only_the_units_that_count_differ(train):
    _, samples, (positive, negative) = compared(train)
    assert positive.label == int(samples.labels[0]) != negative.label
    assert torch.equal(positive.image, negative.image)
    for layer in range(2):
        assert torch.equal(positive.activities[layer], negative.activities[layer])
        assert not (positive.counted[layer] & negative.counted[layer]).any()


def test_under_overlay_coding_the_labels_are_in_the_image(train):
    _, _, (positive, negative) = compared(train, coding="overlay")
    assert torch.equal(positive.image[10:], negative.image[10:])
    for version in (positive, negative):
        assert version.image[:10].nonzero().flatten().tolist() == [version.label]
    assert not torch.equal(positive.activities[0], negative.activities[0])


def test_under_context_coding_the_activities_are_those_of_the_label(train):
    _, _, (positive, negative) = compared(train, coding="context")
    assert not torch.equal(positive.activities[0], negative.activities[0])


@pytest.mark.parametrize(
    ("network", "said"), [({"negatives": "blur"}, "blurred"), (UNSUPERVISED, "mixed with another")]
)
def test_a_corrupted_negative_is_another_image_under_the_same_label(train, network, said):
    _, samples, (positive, negative) = compared(train, **network)
    assert torch.equal(positive.image, samples.rows[0])
    assert not torch.equal(positive.image, negative.image)
    assert (negative.said, negative.label) == (said, positive.label)


def test_wrong_labels_are_mostly_those_that_the_network_takes_for_likely(train):
    ranks = []
    for seed in range(30):
        network, samples, (positive, negative) = compared(train, seed)
        total = sum(goodness for goodness, _ in network.look(samples.rows[:1]))[0]
        total[positive.label] = -torch.inf
        ranks.append(int((total > total[negative.label]).sum()))
    # Drawn each alike, the mean rank would be 4.
    assert np.mean(ranks) < 2


def test_the_bars_are_the_activities_in_their_colours_on_one_scale(train):
    network, _, versions = compared(train)
    made = draw(network, versions, "title")
    rows = [made.axes[2 * i : 2 * i + 2] for i in range(3)]
    for depth, row in enumerate(rows[1:]):
        assert row[0].get_ylim() == row[1].get_ylim()
        for ax, version in zip(row, versions, strict=True):
            others, counted = (patch.get_data().values for patch in ax.patches)
            assert np.allclose(others + counted, version.activities[depth])
            assert np.array_equal(counted != 0, (version.counted[depth] & (version.activities[depth] != 0)).numpy())
            assert f"goodness {version.goodness[depth]:.3g}" in ax.get_title(loc="right")
    legend = [text.get_text() for text in made.legends[0].get_texts()]
    assert legend[-1] == "others"


def test_a_convolution_is_drawn_as_its_most_active_maps_that_count(train):
    network, _, versions = compared(train, layers=[CONVOLUTION, {"units": 30}])
    made = draw(network, versions, "title")
    for ax, version in zip(made.axes[2:4], versions, strict=True):
        maps = version.activities[0].view(8, 8, 20).permute(2, 0, 1)[2 * version.label : 2 * version.label + 2]
        (image,) = ax.get_images()
        first, second = image.get_array()[:, :8], image.get_array()[:, 9:]
        order = maps.mean((1, 2)).argsort(descending=True)
        assert np.allclose(first, maps[order[0]])
        assert np.allclose(second, maps[order[1]])


def test_maps_under_overlay_coding_are_of_the_same_channels_in_both(train):
    network, _, versions = compared(train, coding="overlay", layers=[CONVOLUTION, {"units": 30}])
    made = draw(network, versions, "title")
    maps = [version.activities[0].view(8, 8, 20).permute(2, 0, 1) for version in versions]
    order = maps[0].mean((1, 2)).argsort(descending=True)
    assert not torch.equal(order, maps[1].mean((1, 2)).argsort(descending=True))
    for ax, one in zip(made.axes[2:4], maps, strict=True):
        shown = ax.get_images()[0].get_array()
        for place, channel in enumerate(order.tolist()):
            row, column = 9 * (place // 8), 9 * (place % 8)
            assert np.allclose(shown[row : row + 8, column : column + 8], one[channel])
    assert len(made.legends[0].get_texts()) == 2


def test_samples_that_are_no_images_are_drawn_as_values(train):
    network, _, versions = compared(train)
    network.config = network.config.model_copy(update={"shape": (64,)})
    made = draw(network, versions, "title")
    assert np.allclose(made.axes[0].patches[0].get_data().values, versions[0].image)
