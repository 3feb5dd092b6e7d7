"""What a layer makes of the rows that it is shown, and how its running means follow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from plain_forward import (
    CODINGS,
    LABELS,
    NETWORKS,
    PHASES,
    RULES,
    configure,
    learn,
    make_labels,
    make_layer,
    make_network,
    make_rows,
    relative_error,
    seeded,
)
from plain_layer import PlainLayer
from torch import Tensor

from ffstream.ff.judging import PEERING, THRESHOLDING, Verdict
from ffstream.ff.layers import Layer
from ffstream.ff.lesson import Phase, Teaching

LEARNING, QUERIES = 6, 3
ROWS = LEARNING + QUERIES
SIGNS = {Phase.WAKE: [1.0], Phase.SLEEP: [0.0], Phase.TOGETHER: [1.0, 0.0]}
LABELLED = make_labels(LEARNING)
NEGATIVES = (LABELLED + torch.tensor([1, 2, 3, 1, 2, 3])) % LABELS


def make_inputs(name: str) -> Tensor:
    """Return (n, p, i): a path a label under overlay, one path elsewhere."""
    config = configure(name)
    paths = LABELS if config.coding == "overlay" else 1
    return torch.randn(ROWS, paths, config.width, generator=seeded(5), dtype=torch.float64)


def judged(layer: Layer, inputs: Tensor, phase: Phase, weight: float = 1.0) -> Verdict:
    """Judge rows of which the first are learned from; the noise draws ``NEGATIVES``."""
    believed, noise = torch.zeros(2, ROWS, LABELS, dtype=torch.float64)
    noise += 1
    noise[torch.arange(LEARNING), NEGATIVES] = 1e-90
    labels, weights = torch.zeros(ROWS, 1, dtype=torch.int64), torch.zeros(ROWS, 1, dtype=torch.float64)
    labels[:LEARNING, 0], weights[:LEARNING] = LABELLED, weight
    signs = torch.tensor(SIGNS[phase], dtype=torch.float64).expand(ROWS, -1)
    return layer.judge(inputs, believed, torch.tensor(0.0), noise, Teaching(labels, signs, weights))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_lesson_that_weighs_less_moves_the_weights_less(coding, phase):
    inputs, gradients = make_inputs(coding), []
    for weight in (1.0, 0.25):
        layer = make_layer(coding)
        verdict = judged(layer, inputs, phase, weight)
        gradient = layer.gradient(inputs, verdict.delta, verdict.moved, LEARNING)
        gradients.append(torch.zeros_like(layer.weight))
        gradient.accumulate(gradients[-1], 0.0, 1.0)
    assert relative_error(gradients[1], 0.25 * gradients[0]) < 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_judging_changes_no_tensor_of_the_layer_but_its_running_means(name):
    layer, inputs = make_layer(name), make_inputs(name)
    before = {key: tensor.clone() for key, tensor in layer.state().items()}
    verdict = judged(layer, inputs, Phase.TOGETHER)
    layer.gradient(inputs, verdict.delta, verdict.moved, LEARNING)
    changed = {key for key, tensor in layer.state().items() if not torch.equal(before[key], tensor)}
    config, running = configure(name), {"centre", "thresholds", "activity", "taught"}
    assert changed == running & set(before) - (set() if config.centring else {"centre"})
    assert ("thresholds" in before, "activity" in before) == (config.threshold == "running", config.peer > 0)


@pytest.mark.parametrize("name", NETWORKS)
class TestVerdict:
    def test_what_is_believed_is_the_goodness_of_this_layer_and_those_below(self, name):
        layer, inputs = make_layer(name), make_inputs(name)
        first = judged(layer, inputs, Phase.WAKE)
        nothing = torch.zeros(ROWS, 1, dtype=torch.int64), torch.ones(ROWS, 1).double(), torch.zeros(ROWS, 1).double()
        noise = torch.ones(ROWS, LABELS).double()
        second = layer.judge(inputs, first.believed, torch.tensor(0.0), noise, Teaching(*nothing))
        torch.testing.assert_close(first.believed, first.goodness)
        torch.testing.assert_close(second.believed, 2 * first.goodness)

    @pytest.mark.parametrize("phase", PHASES)
    def test_the_targets_are_the_true_label_that_rises_and_the_wrong_one_that_falls(self, name, phase):
        verdict = judged(make_layer(name), make_inputs(name), phase)
        expected = [LABELLED] * phase.raises + [NEGATIVES] * phase.lowers
        assert torch.equal(verdict.targets[:LEARNING], torch.stack(expected, 1))
        assert torch.equal(verdict.shown, verdict.goodness.gather(1, verdict.targets))

    def test_what_goes_on_is_pooled_and_normalised_and_less_the_centre_that_was(self, name):
        layer, inputs = make_layer(name), make_inputs(name)
        plain = PlainLayer(configure(name), 0, layer.state())
        expected = torch.stack([plain.onward(inputs[:, path]) for path in range(inputs.shape[1])], 1)
        torch.testing.assert_close(judged(layer, inputs, Phase.WAKE).onward, expected)
        assert layer.onward == expected.shape[2]

    def test_reading_finds_what_judging_does_and_moves_nothing(self, name):
        layer, inputs = make_layer(name), make_inputs(name)
        before = {key: tensor.clone() for key, tensor in layer.state().items()}
        goodness, _, onward = layer.read(inputs)
        assert all(torch.equal(before[key], tensor) for key, tensor in layer.state().items())
        verdict = judged(layer, inputs, Phase.WAKE)
        torch.testing.assert_close(goodness, verdict.goodness)
        torch.testing.assert_close(onward, verdict.onward)

    @pytest.mark.parametrize("phase", PHASES)
    def test_a_query_row_has_no_slope(self, name, phase):
        delta = judged(make_layer(name), make_inputs(name), phase).delta
        assert not delta[LEARNING:].any()
        assert delta[:LEARNING].any()


RUNNING = {"threshold": "running", "temperature": "width"}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("coding", CODINGS)
def test_running_thresholds_follow_the_goodness_that_each_sign_showed(coding, phase):
    layer, inputs = make_layer(coding, **RUNNING), make_inputs(coding)
    before = layer.running.thresholds.clone()
    goodness = judged(layer, inputs, phase).goodness[:LEARNING]
    rows = torch.arange(LEARNING)
    means = torch.stack([goodness[rows, LABELLED].mean(), goodness[rows, NEGATIVES].mean()])
    moves = torch.tensor([phase.raises, phase.lowers])
    expected = torch.where(moves, before + THRESHOLDING * (means - before), before)
    torch.testing.assert_close(layer.running.thresholds, expected)


@pytest.mark.parametrize("goodness", ["squares", "minimised", "mean"])
def test_a_running_threshold_begins_where_the_mean_that_goodness_takes_is_one(goodness):
    running = make_network("overlay", goodness=goodness, threshold="running").layers[0].running
    fixed = make_network("overlay", goodness=goodness, threshold="width").layers[0].form.threshold
    assert running.thresholds.tolist() == [fixed, fixed]
    assert (fixed < 0) == (goodness == "minimised")


def test_running_thresholds_come_to_lie_between_real_data_and_negatives():
    network = make_network("disjoint", threshold="running", rate=3e-3)
    for seed in range(600):
        scores = learn(network, make_rows(32, seed % 7), 32, seed=seed)
    for depth, layer in enumerate(network.layers):
        real, negative = scores.shown[:, depth].mean(0).tolist()
        assert negative < float(layer.running.thresholds.mean()) < real


@pytest.mark.parametrize("phase", PHASES)
def test_the_running_activity_follows_real_data_alone(phase):
    layer, inputs = make_layer("disjoint", peer=0.1), make_inputs("disjoint")
    before = layer.running.activity.clone()
    judged(layer, inputs, phase)
    mean = torch.relu(inputs[:LEARNING, 0] @ layer.weight.T).mean(0)
    expected = before + PEERING * (mean - before) if phase.raises else before
    torch.testing.assert_close(layer.running.activity, expected)


def test_peers_bring_the_activities_of_units_together():
    def spread(peer: float) -> float:
        network = make_network("overlay", peer=peer, rate=3e-3)
        for seed in range(200):
            learn(network, make_rows(32, seed), 32, Phase.WAKE, seed)
        active = [activities.mean((0, 1)) for _, activities in network.look(make_rows(500))]
        return float(active[0].std() / active[0].mean())

    assert spread(1.0) < 0.7 * spread(0.0)


HELD: list[dict[str, Any]] = [
    *({"rule": rule} for rule in RULES),
    *({"rounding": rounding, "precision": "bfloat16"} for rounding in ("nearest", "stochastic", "master")),
]


@pytest.mark.parametrize("how", HELD, ids=str)
@pytest.mark.parametrize("name", ["disjoint", "context", "images"])
def test_homeostasis_holds_the_norm_of_every_units_weights(name, how):
    held, free = (make_network(name, homeostasis=on, rate=0.02, **how) for on in (True, False))
    first = [layer.weight.float().norm(dim=1) for layer in held.layers]
    for network in (held, free):
        for seed in range(20):
            learn(network, make_rows(16, seed), 16, seed=seed)
    tolerance = 0.01 if "precision" in how else 1e-5
    for layer, other, norms in zip(held.layers, free.layers, first, strict=True):
        torch.testing.assert_close(layer.weight.float().norm(dim=1), norms, rtol=tolerance, atol=0)
        assert relative_error(other.weight.float().norm(dim=1), norms) > 3 * tolerance


@pytest.mark.parametrize(
    ("phase", "raises", "lowers"),
    [(Phase.WAKE, True, False), (Phase.SLEEP, False, True), (Phase.TOGETHER, True, True)],
)
def test_wake_raises_and_sleep_lowers_and_together_does_both(phase, raises, lowers):
    assert (phase.raises, phase.lowers) == (raises, lowers)


@pytest.mark.parametrize(("rate", "more"), [("auto", 2.0), (1e-3, 1.0)])
def test_the_first_samples_of_a_label_teach_more_where_the_step_is_derived(rate, more):
    deltas = []
    for taught in (0.0, 1e6):
        layer = make_layer("disjoint", rate=rate)
        layer.running.taught.fill_(taught)
        deltas.append(judged(layer, make_inputs("disjoint"), Phase.WAKE).delta)
        assert (layer.running.taught > taught).any()
    assert relative_error(deltas[0], more * deltas[1]) < 1e-9
