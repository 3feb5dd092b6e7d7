"""Layers are sent through some at a time, and what comes out does not depend on how many."""

from __future__ import annotations

import pytest
import torch
from plain_forward import configure, copy_of, equal, learn, make_network, make_rows

from ffstream.config import DreamsConfig, NetworkConfig, OptimizerConfig
from ffstream.ff import flow
from ffstream.ff.lesson import Phase
from ffstream.ff.network import Network

DEEP = (12, 12, 12, 11, 12, 12, 12, 12, 12)


def sizes(network) -> list[int]:
    return [len(span.layers) for span in network.spans]


def test_layers_are_parted_by_two_and_only_the_first_are_entered():
    network = make_network("disjoint", hidden=DEEP)
    assert sizes(network) == [2, 2, 2, 2, 1]
    assert [layer for span in network.spans for layer in span.layers] == network.layers
    assert [span.entry is not None for span in network.spans] == [True, False, False, False, False]


def test_convolutions_are_not_compiled_and_what_lies_on_top_of_them_is():
    convolution = {"kind": "convolution", "units": 8, "kernel": 3, "regions": 2}
    local = {"kind": "local", "units": 5, "kernel": 2}
    layers = (convolution, convolution, local, {"units": 12})
    values = {"shape": (3, 8, 8), "labels": 4, "layers": layers, "coding": "assembly", "assemblies": "learned"}
    network = Network(NetworkConfig(**values), OptimizerConfig(), torch.device("cpu"))
    assert [(len(span.layers), span.compiles) for span in network.spans] == [(2, False), (2, True)]


def test_the_first_layer_goes_alone_where_dreams_look_at_it():
    config, dreams = configure("disjoint", hidden=DEEP), DreamsConfig(source="dream")
    network = Network(config, OptimizerConfig(), torch.device("cpu"), dreams)
    assert sizes(network) == [1, 2, 2, 2, 2]


@pytest.mark.parametrize("coding", ["disjoint", "context", "overlay"])
@pytest.mark.parametrize("together", [1, 3, 9])
def test_the_number_of_layers_that_go_together_makes_no_difference(monkeypatch, coding, together):
    two = make_network(coding, hidden=DEEP, readout="upper")
    monkeypatch.setattr(flow, "TOGETHER", together)
    other = make_network(coding, hidden=DEEP, readout="upper")
    assert len(other.spans) == -(-len(DEEP) // together)
    for phase in Phase:
        first, second = (learn(network, make_rows(9), 6, phase) for network in (two, other))
        assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in vars(first))
    assert equal(copy_of(two), copy_of(other))
