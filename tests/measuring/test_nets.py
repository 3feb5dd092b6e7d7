from __future__ import annotations

import pytest
import torch

from ffstream.errors import ConfigError
from ffstream.measuring.nets import NETS, Backprop, network_of, widths

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("net", "expected"),
    [("784-512-512", (784, 512, 512)), ("784-3x1000", (784, 1000, 1000, 1000)), ("9-2x3-4", (9, 3, 3, 4))],
)
def test_a_net_is_read_from_its_name(net, expected):
    assert widths(net) == expected


@pytest.mark.parametrize("net", ["", "784", "784-", "784-0", "784-x10", "a-b", "784-2x", "784 512"])
def test_a_name_of_another_form_is_refused(net):
    with pytest.raises(ConfigError, match="784-512-512"):
        widths(net)


@pytest.mark.parametrize("net", NETS)
def test_the_networks_have_the_widths_of_their_names(net):
    config = network_of(net)
    assert (config.width, *config.hidden) == widths(net)


def test_backprop_has_the_same_widths_and_a_layer_for_the_labels():
    model = Backprop("20-30-40", torch.float32, CPU, compiled=False)
    assert [tuple(p.shape) for p in model.model.parameters() if p.dim() == 2] == [(30, 20), (40, 30), (10, 40)]


def test_backprop_predicts_before_it_learns_and_learns():
    model = Backprop("20-30", torch.float32, CPU, compiled=False, rate=1e-2)
    rows, labels = torch.randn(64, 20), torch.randint(10, (64,))
    untouched = model.model(rows).argmax(1)
    assert torch.equal(model.step(rows, labels), untouched)
    for _ in range(200):
        predicted = model.step(rows, labels)
    assert (predicted == labels).float().mean() > 0.9


def test_a_restored_backprop_goes_on_as_the_one_that_was_saved():
    first, second = (Backprop("20-30", torch.float32, CPU, compiled=False, seed=seed) for seed in (0, 1))
    rows, labels = torch.randn(64, 20), torch.randint(10, (64,))
    for _ in range(3):
        first.step(rows, labels)
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    for model in (first, second):
        model.step(rows, labels)
    assert all(torch.equal(tensor, second.state()[name]) for name, tensor in first.state().items())


def test_backprop_without_a_step_size_stays_as_it_is():
    model = Backprop("20-30", torch.float32, CPU, compiled=False, labels=3)
    before = [parameter.clone() for parameter in model.model.parameters()]
    model.anneal(0.0)
    model.step(torch.randn(8, 20), torch.randint(3, (8,)))
    assert all(map(torch.equal, before, model.model.parameters()))
