"""A linear read-out learns beside the layers, by its own delta rule, and reaches none of them."""

from __future__ import annotations

import pytest
import torch
from plain_forward import (
    LABELS,
    PHASES,
    UNLABELLED,
    copy_of,
    equal,
    learn,
    make_labels,
    make_network,
    make_rows,
    plain_activities,
    seeded,
)
from torch.nn import functional

from ffstream.ff.lesson import FULL_STEP, Lesson, Phase
from ffstream.ff.network import Network
from ffstream.ff.readout import Readout

LEARNING, QUERIES = 8, 5
READ = ["disjoint", "context", "overlay", "images", "overlaid images", "against labels"]


def make_read(name: str, readout: str = "all", **network: object) -> Network:
    """Make a network with a read-out that has learned a little."""
    made = make_network(name, readout=readout, **network)
    for seed in range(3):
        learn(made, make_rows(LEARNING, seed), LEARNING, Phase.WAKE)
    return made


def readout_of(network: Network) -> dict[str, torch.Tensor]:
    """Return the read-out's weights (C, activities) of all layers one after another, and its bias."""
    state = copy_of(network)
    names = sorted(name for name in state if name.startswith("readout.") and name.endswith("weight"))
    return {"weight": torch.cat([state[name] for name in names], 1), "bias": state["readout.bias"]}


def plain_logits(network: Network, rows: torch.Tensor) -> torch.Tensor:
    readout = readout_of(network)
    return plain_activities(network, rows) @ readout["weight"].T + readout["bias"]


@pytest.mark.parametrize("readout", ["all", "upper"])
@pytest.mark.parametrize("name", READ)
def test_a_network_is_read_out_by_the_plain_formula(name, readout):
    network, rows = make_read(name, readout, prediction="readout"), make_rows(QUERIES)
    torch.testing.assert_close(network.sweep(rows).evidence, plain_logits(network, rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("m", [LEARNING, 2 * FULL_STEP])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("readout", ["all", "upper"])
@pytest.mark.parametrize("name", READ)
def test_the_step_is_that_of_autograd_on_the_cross_entropy(name, readout, phase, m):
    network, rows = make_read(name, readout), make_rows(m + QUERIES)
    before, activities = readout_of(network), plain_activities(network, rows[:m])
    free = {key: tensor.clone().requires_grad_() for key, tensor in before.items()}
    logits = activities @ free["weight"].T + free["bias"]
    functional.cross_entropy(logits, make_labels(m), reduction="sum").backward()
    learn(network, rows, m, phase)
    # The bias is an activity too.
    step = network.config.readout_rate * min(1, FULL_STEP / m) / (activities.shape[1] + 1)
    for key, tensor in readout_of(network).items():
        torch.testing.assert_close(tensor - before[key], -step * free[key].grad, rtol=1e-3, atol=1e-6)
        assert not torch.equal(tensor, before[key])


@pytest.mark.parametrize("name", ["disjoint", "context", "images", "against labels"])
def test_layers_learn_bit_for_bit_alike_with_and_without_a_readout(name):
    beside, alone = make_network(name, readout="all", readout_rate=5.0), make_network(name)
    for network in (beside, alone):
        for seed, phase in enumerate(PHASES):
            learn(network, make_rows(LEARNING + QUERIES, seed), LEARNING, phase, seed)
    assert equal({key: tensor for key, tensor in copy_of(beside).items() if "readout" not in key}, copy_of(alone))


def test_layers_under_overlay_learn_alike_but_for_the_neutral_path_in_their_centres():
    beside, alone = (make_network("overlay", readout=readout, centring=False) for readout in ("all", "none"))
    for network in (beside, alone):
        for seed, phase in enumerate(PHASES):
            learn(network, make_rows(LEARNING + QUERIES, seed), LEARNING, phase, seed)
    for key, tensor in alone.state().items():
        torch.testing.assert_close(beside.state()[key], tensor, rtol=1e-5, atol=1e-6)


def test_a_sample_without_a_label_teaches_the_readout_nothing():
    network, rows, labels = make_network("none"), make_rows(LEARNING), make_labels(LEARNING)
    labels[::2] = -1
    activities = plain_activities(network, rows)
    network.sweep(rows, Lesson(labels, Phase.WAKE))
    # At first every label is as probable, and the step is that of the rows with a label.
    error = 1 / LABELS - functional.one_hot(labels[1::2], LABELS)
    step = network.config.readout_rate / (activities.shape[1] + 1)
    readout = readout_of(network)
    torch.testing.assert_close(readout["weight"], -step * error.T @ activities[1::2], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(readout["bias"], -step * error.sum(0), rtol=1e-4, atol=1e-6)


def test_without_any_label_the_layers_learn_and_the_readout_does_not():
    network, before = make_network("none"), copy_of(make_network("none"))
    network.sweep(make_rows(LEARNING), Lesson(torch.full((LEARNING,), -1), Phase.TOGETHER), seeded())
    state = network.state()
    assert not torch.equal(state["0.weight"], before["0.weight"])
    assert all(torch.equal(tensor, before[key]) for key, tensor in state.items() if "readout" in key)


def test_the_layers_of_an_unsupervised_network_do_not_see_the_labels():
    one, other = make_network("none"), make_network("none")
    rows = make_rows(LEARNING)
    one.sweep(rows, Lesson(make_labels(LEARNING), Phase.TOGETHER), seeded())
    other.sweep(rows, Lesson(torch.full((LEARNING,), -1), Phase.TOGETHER), seeded())
    for key, tensor in one.state().items():
        assert torch.equal(tensor, other.state()[key]) == ("readout" not in key)


def test_corrupted_rows_alone_teach_the_readout_nothing():
    network = make_network("disjoint", negatives="shuffled", readout="all")
    before = readout_of(network)
    learn(network, make_rows(LEARNING), LEARNING, Phase.SLEEP)
    assert all(torch.equal(tensor, before[key]) for key, tensor in readout_of(network).items())


def test_beside_corrupted_copies_the_readout_learns_the_real_rows_alone():
    beside, awake = (make_network("none") for _ in range(2))
    rows = make_rows(LEARNING)
    learn(beside, rows, LEARNING, Phase.TOGETHER)
    learn(awake, rows, LEARNING, Phase.WAKE)
    # What the first layer sends on is not yet of other weights; the centres that were are those of both.
    torch.testing.assert_close(beside.state()["readout.0.weight"], awake.state()["readout.0.weight"])
    assert awake.state()["readout.0.weight"].any()


def test_a_readout_comes_to_tell_what_is_linear_in_its_activities():
    readout, generator = Readout(3, [6, 4], 3.0, torch.device("cpu")), seeded()
    truth = torch.randn(10, 3, generator=generator)
    for _ in range(300):
        z = torch.randn(64, 10, generator=generator)
        split, labels = z.split([6, 4], 1), (z @ truth).argmax(1)
        readout.learn(split, readout.read(split), labels, torch.ones(64, 1))
    z = torch.randn(1_000, 10, generator=generator)
    assert float((readout.read(z.split([6, 4], 1)).argmax(1) == (z @ truth).argmax(1)).float().mean()) > 0.95


def test_a_configuration_without_labels_needs_a_readout_to_predict():
    assert UNLABELLED["prediction"] == "readout"
    assert make_network("none").sweep(make_rows(QUERIES)).evidence.shape == (QUERIES, LABELS)
