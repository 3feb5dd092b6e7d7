from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from small_row import DECLARED

from ffstream.data import datasets
from ffstream.experiments.images import Labelled, rows
from ffstream.experiments.methods import Frozen, make

CPU = torch.device("cpu")
RECURRENT = {
    "method": "recurrent",
    "network": {**DECLARED["network"], "temperature": 16.0, "threshold": 16.0, "readout_rate": 0.1},
    "optimizer": {"rule": "adam", "rate": 1e-2},
}
METHODS = ({"method": "forward"}, {"method": "backprop", "rate": 3e-3}, {"method": "frozen", "rate": 1e-2}, RECURRENT)


@pytest.fixture(scope="module")
def digits_train():
    return Labelled.on(CPU, *datasets.load("digits", Path()).train)


def lessons(train, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        chosen = torch.randint(len(train), (64,), generator=generator)
        yield rows(train.images[chosen]), train.labels[chosen]


@pytest.mark.parametrize("changes", METHODS)
def test_a_method_learns(declare, digits_train, changes):
    method = make(declare(**changes), 0, CPU)
    generator = torch.Generator().manual_seed(0)
    for shown, labels in lessons(digits_train, 100):
        method.learn(shown, labels, generator)
    right = method.predict(rows(digits_train.images)) == digits_train.labels
    assert right.float().mean() > 0.85


@pytest.mark.parametrize("changes", METHODS)
def test_a_restored_method_goes_on_as_the_one_that_was_saved(declare, digits_train, changes):
    row = declare(**changes)
    first, second = make(row, 0, CPU), make(row, 0, CPU)
    for shown, labels in lessons(digits_train, 3):
        first.learn(shown, labels, torch.Generator().manual_seed(1))
    second.restore({name: tensor.clone() for name, tensor in first.state().items()})
    for shown, labels in lessons(digits_train, 3, seed=1):
        for method in (first, second):
            method.learn(shown, labels, torch.Generator().manual_seed(2))
    assert all(torch.equal(one, second.state()[name]) for name, one in first.state().items())


@pytest.mark.parametrize("changes", METHODS)
def test_without_a_step_size_no_weight_moves(declare, digits_train, changes):
    method = make(declare(**changes), 0, CPU)
    weights = [name for name in method.state() if re.fullmatch(r"(\d+\.((below|above)\.)?)?weight", name)]
    before = [method.state()[name].clone() for name in weights]
    method.anneal(0.0)
    for shown, labels in lessons(digits_train, 2):
        method.learn(shown, labels, torch.Generator().manual_seed(0))
    assert weights
    assert all(torch.equal(tensor, method.state()[name]) for tensor, name in zip(before, weights, strict=True))


def test_what_is_learned_is_counted(declare):
    counts = [make(declare(**changes), 0, CPU).parameters for changes in METHODS]
    trunk = 64 * 40 + 40 * 40
    assert counts == [trunk, trunk + 80 + 41 * 10, 81 * 10, trunk + 40 * 40 + 40 * 10 + 81 * 10]


def test_the_frozen_trunk_stays_that_of_the_same_net(declare, digits_train):
    method = make(declare(method="frozen"), 3, CPU)
    twin = make(declare(), 3, CPU).network
    assert isinstance(method, Frozen)
    for shown, labels in lessons(digits_train, 3):
        method.learn(shown, labels, torch.Generator())
    for one, other in zip(method.trunk.layers, twin.layers, strict=True):
        assert torch.equal(one.weight, other.weight)
