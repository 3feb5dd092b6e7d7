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

from ffstream.ff.lesson import Lesson, Phase
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
    """Return the read-out's tensors, by name."""
    return {name: tensor for name, tensor in copy_of(network).items() if name.startswith("readout.")}


def with_one(activities: torch.Tensor) -> torch.Tensor:
    """Add the activity that is always 1, for the bias."""
    return torch.cat([activities, torch.ones(len(activities), 1)], 1)


def plain_logits(network: Network, rows: torch.Tensor) -> torch.Tensor:
    return with_one(plain_activities(network, rows)) @ readout_of(network)["readout.weight"].T


def plain_adam(network: Network) -> tuple[torch.Tensor, torch.optim.Adam]:
    """Make the weights of a read-out that has not learned, and torch's own optimizer for them."""
    weight = readout_of(network)["readout.weight"].requires_grad_()
    return weight, torch.optim.Adam([weight], lr=network.config.readout_rate / (weight.shape[1] - 1))


@pytest.mark.parametrize("readout", ["all", "upper"])
@pytest.mark.parametrize("name", READ)
def test_a_network_is_read_out_by_the_plain_formula(name, readout):
    network, rows = make_read(name, readout, prediction="readout"), make_rows(QUERIES)
    torch.testing.assert_close(network.sweep(rows).evidence, plain_logits(network, rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("m", [LEARNING, 128])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("readout", ["all", "upper"])
@pytest.mark.parametrize("name", READ)
def test_the_steps_are_those_of_adam_and_autograd_on_the_cross_entropy(name, readout, phase, m):
    network = make_network(name, readout=readout)
    weight, adam = plain_adam(network)
    for seed in range(3):
        rows, before = make_rows(m + QUERIES, seed), weight.detach().clone()
        logits = with_one(plain_activities(network, rows[:m])) @ weight.T
        adam.zero_grad()
        functional.cross_entropy(logits, make_labels(m), reduction="sum").backward()
        adam.step()
        learn(network, rows, m, phase)
        torch.testing.assert_close(network.state()["readout.weight"], weight.detach(), rtol=1e-3, atol=1e-5)
        assert (weight != before).any(1).all()


def test_smoothed_its_steps_are_those_of_adam_and_autograd_on_the_smoothed_cross_entropy():
    network, rows = make_network("disjoint", readout="all", smoothing=0.2), make_rows(LEARNING)
    weight, adam = plain_adam(network)
    logits = with_one(plain_activities(network, rows)) @ weight.T
    # torch deals its share out to all labels, the true one among them.
    share = 0.2 * LABELS / (LABELS - 1)
    functional.cross_entropy(logits, make_labels(LEARNING), reduction="sum", label_smoothing=share).backward()
    adam.step()
    learn(network, rows, LEARNING, Phase.WAKE)
    torch.testing.assert_close(network.state()["readout.weight"], weight.detach(), rtol=1e-3, atol=1e-5)


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
    # At first every label is as probable, and the gradient is that of the rows with a label.
    error = 1 / LABELS - functional.one_hot(labels[1::2], LABELS)
    gradient = error.T @ with_one(activities[1::2])
    torch.testing.assert_close(network.state()["readout.mean"], 0.1 * gradient, rtol=1e-4, atol=1e-6)


def test_once_it_has_learned_samples_without_labels_do_not_move_it():
    network = make_read("none")
    before = readout_of(network)
    network.sweep(make_rows(LEARNING), Lesson(torch.full((LEARNING,), -1), Phase.WAKE))
    assert equal(readout_of(network), before)


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
    for key, tensor in readout_of(awake).items():
        torch.testing.assert_close(beside.state()[key], tensor)
        assert tensor.any()


def test_a_readout_comes_to_tell_what_is_linear_in_its_activities():
    readout, generator = Readout(3, 10, 0.3, torch.device("cpu")), seeded()
    truth = torch.randn(10, 3, generator=generator)
    for _ in range(300):
        z = torch.randn(64, 10, generator=generator)
        readout.learn(z, readout.read(z), (z @ truth).argmax(1), torch.ones(64, 1))
    z = torch.randn(1_000, 10, generator=generator)
    assert float((readout.read(z).argmax(1) == (z @ truth).argmax(1)).float().mean()) > 0.95


def test_a_configuration_without_labels_needs_a_readout_to_predict():
    assert UNLABELLED["prediction"] == "readout"
    assert make_network("none").sweep(make_rows(QUERIES)).evidence.shape == (QUERIES, LABELS)
