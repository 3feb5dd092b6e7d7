from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from small_row import DECLARED, Noting
from torch.nn import functional

from ffstream.config import validate
from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments import figures, iterations
from ffstream.experiments.images import Labelled, rows
from ffstream.experiments.recurrent import DAMPING, Recurrent
from ffstream.experiments.row import Row
from ffstream.ff.activations import ACTIVATIONS
from ffstream.ff.goodness import normalise

CPU = torch.device("cpu")
KEYS = ("temperature", "threshold")
NETWORK = {
    "shape": [8, 8],
    "hidden": [24, 20, 16],
    "temperature": 4.0,
    "threshold": 4.0,
    "precision": "float32",
    "readout_rate": 0.1,
}
SIGNS = torch.tensor([1.0, 0.0])


def declared(network=None, **changes) -> Row:
    plain = {"method": "recurrent", "network": NETWORK | (network or {}), "optimizer": {"rule": "adam", "rate": 1e-3}}
    return validate(Row, {**DECLARED, **plain, **changes}, "test")


def made(network=None, **changes) -> Recurrent:
    row = declared(network, **changes)
    return Recurrent(row.network, row.optimizer, row.iterations, CPU)


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", Path())


@pytest.fixture(scope="module")
def taught(data):
    train = Labelled.on(CPU, *data.train)
    return rows(train.images[:32]), train.labels[:32]


@pytest.fixture
def shown(taught):
    """Return rows, and for each the true label and a wrong one."""
    seen, labels = taught
    return seen, torch.stack([labels, (labels + 3) % 10], 1)


def gradient_of(local, weight):
    into = torch.zeros_like(weight)
    local.accumulate(into, 0.0, 1.0)
    return into


def loss_of(layer, seen, before, weights, activation, network):
    """Loss of a layer at one iteration, written with autograd: inputs and the state before are given."""
    below, above = weights
    state = DAMPING * before + (1 - DAMPING) * activation(seen.below @ below.T + seen.above @ above.T)
    measure = state.square() if network.goodness != "mean" else state
    goodness = network.temperature * measure.mean(2)
    goodness, threshold = (-goodness, -network.threshold) if network.goodness == "minimised" else (goodness, 4.0)
    return functional.softplus((1 - 2 * SIGNS) * (goodness - threshold)).sum()


@pytest.mark.parametrize("goodness", ["squares", "minimised", "mean"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_every_layers_gradient_is_that_of_its_own_loss_summed_over_iterations(shown, activation, goodness):
    seen, labels = shown
    row = declared({"activation": activation, "goodness": goodness})
    network = Recurrent(row.network, row.optimizer, 6, CPU)
    risen = network.rise(seen)
    found = network.gradients(seen, risen, labels, SIGNS)
    befores = [[state.unsqueeze(1) for state in risen]]
    steps = list(islice(network.iterate(seen, risen, labels), 6))
    befores += [[each.state for each in step] for step in steps]
    for i, (layer, local) in enumerate(zip(network.layers, found, strict=True)):
        links = (layer.below, layer.above)
        weights = [link.connection.weight.clone().requires_grad_() for link in links]
        for step, before in zip(steps, befores, strict=False):
            value = ACTIVATIONS[activation].value
            loss_of(layer, step[i], before[i], weights, value, row.network).backward()
        for weight, gradient in zip(weights, local, strict=True):
            torch.testing.assert_close(gradient_of(gradient, weight), weight.grad, rtol=1e-4, atol=1e-5)
            assert weight.grad.abs().max() > 1e-3


def test_the_slope_of_one_iteration_is_that_of_autograd(shown):
    seen, labels = shown
    network = made()
    before = network.rise(seen)
    for step in islice(network.iterate(seen, before, labels), 4):
        for layer, each in zip(network.layers, step, strict=True):
            activation = each.activation.clone().requires_grad_()
            left = each.state - (1 - DAMPING) * torch.relu(each.activation)
            state = left + (1 - DAMPING) * torch.relu(activation)
            goodness = 4.0 * state.square().mean(2)
            functional.softplus((1 - 2 * SIGNS) * (goodness - 4.0)).sum().backward()
            torch.testing.assert_close(layer.delta(each, SIGNS), activation.grad)


def test_all_layers_move_at_once_from_what_their_neighbours_were(shown):
    seen, labels = shown
    network = made()
    states = network.rise(seen)
    first, second = islice(network.iterate(seen, states, labels), 2)
    code = normalise(functional.one_hot(labels, 10).float())
    for i, each in enumerate(first):
        below = normalise(seen) if i == 0 else normalise(states[i - 1])
        torch.testing.assert_close(each.below, below.unsqueeze(1).expand_as(each.below))
        above = code if i == 2 else normalise(states[i + 1]).unsqueeze(1)
        torch.testing.assert_close(each.above, above.expand_as(each.above))
    for before, now in zip(first, second, strict=True):
        moved = DAMPING * before.state + (1 - DAMPING) * torch.relu(now.activation)
        torch.testing.assert_close(now.state, moved)
    torch.testing.assert_close(second[1].below, normalise(first[0].state))
    torch.testing.assert_close(second[1].above, normalise(first[2].state))


def test_the_first_states_are_those_of_one_pass_upwards(taught):
    seen, _ = taught
    network = made()
    expected = seen
    for layer, state in zip(network.layers, network.rise(seen), strict=True):
        expected = torch.relu(normalise(expected) @ layer.below.connection.weight.T)
        torch.testing.assert_close(state, expected)


def test_a_label_comes_down_one_layer_at_each_iteration(shown):
    seen, labels = shown
    network = made()
    for number, step in enumerate(islice(network.iterate(seen, network.rise(seen), labels), 3), 1):
        told = [not torch.equal(each.state[:, 0], each.state[:, 1]) for each in step]
        assert told == [i >= 3 - number for i in range(3)]


def test_no_layer_reads_goodness_off_the_length_of_another(shown):
    seen, labels = shown
    network = made()
    states = network.rise(seen)
    plain, loud = (next(network.iterate(factor * seen, [factor * s for s in states], labels)) for factor in (1.0, 5.0))
    for one, other in zip(plain, loud, strict=True):
        torch.testing.assert_close(one.activation, other.activation)


def test_a_label_is_predicted_by_iterations_three_to_five(taught):
    seen, _ = taught
    network = made()
    goodness = network.goodness(seen, 8)
    assert goodness.shape == (8, 32, 10)
    assert torch.equal(network.predict(seen), goodness[2:5].sum(0).argmax(1))


def test_a_wrong_label_is_drawn_from_what_the_read_out_says_of_the_image_alone(monkeypatch, taught):
    seen, labels = taught
    network = made()
    likely = (labels + 1) % 10
    monkeypatch.setattr(network.readout, "read", lambda activities: 50.0 * functional.one_hot(likely, 10))
    monkeypatch.setattr(network.readout, "learn", lambda *rest: None)
    drawn = []
    gradients = network.gradients
    monkeypatch.setattr(network, "gradients", lambda *given: drawn.append(given) or gradients(*given))
    network.learn(seen, labels, torch.Generator().manual_seed(0))
    ((*_, shown, signs),) = drawn
    assert torch.equal(shown, torch.stack([labels, likely], 1))
    assert torch.equal(signs, SIGNS)


@pytest.mark.parametrize(
    ("network", "optimizer"),
    [
        ({}, {"rule": "adam", "rate": 3e-3}),
        ({"precision": "bfloat16"}, {"rule": "adam", "rate": 3e-3, "rounding": "master"}),
        ({}, {"rule": "factored", "rate": 3e-4}),
    ],
)
def test_it_learns_digits(data, network, optimizer):
    row = declared(
        {"hidden": [80, 80], **dict.fromkeys(KEYS, 16.0), **network}, optimizer=optimizer, passes=6, batch=32
    )
    *_, found = iterations.measure(row, data, 1, CPU, Noting())
    assert found["error_mean"] < 14


def test_over_the_iterations_the_true_labels_goodness_parts_from_the_others(data):
    row = declared({"hidden": [60, 60], **dict.fromkeys(KEYS, 16.0)}, passes=4, batch=32)
    heard = Noting()
    one, both = iterations.measure(row, data, 2, CPU, heard)
    assert [run[:2] for run in heard.runs] == [("small", 0), ("small", 1)]
    assert heard.batches == 2 * 4 * 45
    assert (one["seeds"], both["seeds"]) == (1, 2)
    assert one["errors"][0] == both["errors"][0]
    for true, wrong, errors in zip(*(both[key] for key in iterations.BY_ITERATION), strict=True):
        assert len(true) == len(wrong) == len(errors) == 8
        assert all(up > down for up, down in zip(true[1:], wrong[1:], strict=True))
        assert true[3] - wrong[3] > true[0] - wrong[0]
        assert errors[3] < errors[0]
    lines = iterations.table(both)
    assert [line["iteration"] for line in lines] == [str(k) for k in range(1, 9)]
    left, right = figures.by_iteration(both).axes
    assert len(left.lines) == 2
    means = [sum(pair) / 2 for pair in zip(*both["error_by_iteration"], strict=True)]
    assert list(right.lines[0].get_ydata()) == pytest.approx(means)


def test_goodness_and_error_by_iteration_are_those_of_the_test_images(data, taught):
    seen, labels = taught
    network = made()
    images = Labelled.on(CPU, data.train[0][:32], data.train[1][:32])
    found = iterations.by_iteration(network, images, 6)
    goodness = network.goodness(seen, 6)
    wrong = 100 * (goodness.argmax(2) != labels).float().mean(1)
    assert found["error_by_iteration"] == pytest.approx(wrong.tolist())
    assert found["goodness_true"] == pytest.approx(goodness[:, torch.arange(32), labels].mean(1).tolist(), rel=1e-5)


def test_the_bundled_row_may_be_changed_key_by_key(data):
    row = iterations.declare(data, "digits", {"passes": 2}, {"hidden": [30]}, {"rate": 5e-4})
    assert (row.passes, row.network.hidden, row.network.shape, row.optimizer.rate) == (2, (30,), (8, 8), 5e-4)
    assert (row.optimizer.rule, row.method, row.published_error) == ("adam", "recurrent", None)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ({"coding": "overlay"}, "does not support network.coding"),
        ({"threshold": "running"}, "a threshold other than 'running'"),
        ({"negatives": "masks"}, "wrong labels as negatives"),
    ],
)
def test_what_it_has_no_use_for_is_refused(network, told):
    with pytest.raises(ConfigError, match=told):
        declared(network)


def test_iterations_are_its_own_and_reach_what_is_judged(declare):
    with pytest.raises(ConfigError, match="iterations applies only to recurrent"):
        declare(iterations=8)
    with pytest.raises(ConfigError, match="iterations"):
        declared(iterations=4)


def test_a_row_of_another_method_has_no_iterations(declare, data):
    with pytest.raises(ConfigError, match="set method to recurrent"):
        next(iterations.measure(declare(), data, 1, CPU, Noting()))
