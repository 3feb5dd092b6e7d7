from __future__ import annotations

import pytest
import torch

from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network
from ffstream.inspection.goodness import by_sign, draw, separations
from ffstream.inspection.probe import network_of, remembered

UNSUPERVISED = {"coding": "none", "negatives": "masks", "readout": "all", "prediction": "readout"}
NETWORKS = [
    {},
    {"negatives": "uniform", "assemblies": "random"},
    {"coding": "context"},
    {"coding": "overlay", "readout": "all"},
    {"coding": "overlay", "negatives": "noise"},
    UNSUPERVISED,
    {"against": "labels", "goodness": "minimised"},
    {"layers": [{"kind": "convolution", "units": 20, "kernel": 3, "regions": 2, "pool": 2}, {"units": 30}]},
]


def seeded():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("network", NETWORKS)
def test_it_is_what_learning_both_signs_would_show_and_nothing_is_learned(train, network):
    snapshot = train(**network).snapshot()
    shown, samples = network_of(snapshot), remembered(snapshot).draw(100, seeded())
    found = by_sign(shown, samples.rows, samples.labels, seeded())
    assert all(torch.equal(tensor, snapshot.tensors["network"][name]) for name, tensor in shown.state().items())
    taught = network_of(snapshot).sweep(samples.rows, Lesson(samples.labels, Phase.TOGETHER), seeded())
    assert torch.allclose(found, taught.shown, atol=1e-4)


def test_many_samples_are_shown_in_parts_with_their_own_labels(train):
    snapshot = train().snapshot()
    network, samples = network_of(snapshot), remembered(snapshot)
    found = by_sign(network, samples.rows, samples.labels, seeded())
    real = torch.stack([g.gather(1, samples.labels[:, None])[:, 0] for g, _ in network.look(samples.rows)], 1)
    assert len(found) == 300
    assert torch.allclose(found[:, :, 0], real, atol=1e-4)


@pytest.mark.parametrize("network", [{}, {"coding": "context", "temperature": 16, "threshold": 24}, UNSUPERVISED])
def test_a_network_that_learned_tells_real_from_negative_and_a_new_one_does_not(train, network):
    learner = train(**network)
    snapshot = learner.snapshot()
    samples = remembered(snapshot)
    new = Network(learner.config.network, learner.config.optimizer, torch.device("cpu"))
    before, after = (
        separations(one, by_sign(one, samples.rows, samples.labels, seeded()))[-1]
        for one in (new, network_of(snapshot))
    )
    assert after.real_mean > after.negative_mean + 1
    assert after.roc_area > max(0.7, before.roc_area + 0.1)
    assert after.d_prime > before.d_prime + 0.3


def test_the_measures_are_those_worked_out_by_hand(train):
    network = network_of(train().snapshot())
    real, negative = torch.tensor([2.0, 4.0, 6.0]), torch.tensor([1.0, 3.0, 5.0])
    first, second = separations(network, torch.stack([real, negative], 1).unsqueeze(1).expand(-1, 2, -1))
    assert (first.layer, second.layer, first.threshold) == (1, 2, 12)
    assert (first.real_mean, first.negative_mean) == (4, 3)
    # Six of nine pairs are in order.
    assert first.roc_area == pytest.approx(6 / 9)
    assert first.d_prime == pytest.approx(1 / (8 / 3) ** 0.5)


def test_a_dead_layer_tells_nothing_and_can_be_drawn(train):
    network = network_of(train().snapshot())
    dead = torch.zeros(5, 2, 2)
    found = separations(network, dead)
    assert [(one.roc_area, one.d_prime) for one in found] == [(0.5, None)] * 2
    assert "–" in draw(dead, found, "dead").axes[0].texts[0].get_text()


@pytest.mark.parametrize(
    ("network", "lines"), [({}, [12, 12]), ({"threshold": "running"}, None), ({"against": "labels"}, [])]
)
def test_the_picture_has_all_samples_of_each_layer_and_its_threshold(train, network, lines):
    snapshot = train(**network).snapshot()
    shown, samples = network_of(snapshot), remembered(snapshot)
    goodness = by_sign(shown, samples.rows, samples.labels, seeded())
    made = draw(goodness, separations(shown, goodness), "title")
    assert [ax.get_title() for ax in made.axes] == ["layer 1", "layer 2"]
    for ax, values in zip(made.axes, goodness.unbind(1), strict=True):
        (low, high), outline = ax.dataLim.intervalx, ax.patches[0].get_path().vertices
        assert low == pytest.approx(float(values.min()), abs=1e-4)
        assert high == pytest.approx(float(values.max()), abs=1e-4)
        # The area below the outline of the real samples is their number.
        x, y = outline[: len(outline) // 2 + 1].T
        width = (high - low) / 48
        assert (y[:-1] * (x[1:] - x[:-1])).sum() / width == pytest.approx(300, rel=0.01)
    drawn = [float(line.get_xdata()[0]) for ax in made.axes for line in ax.lines]
    if lines is None:
        lines = [float(layer.running.thresholds.mean()) for layer in shown.layers]
    assert drawn == pytest.approx(lines)
