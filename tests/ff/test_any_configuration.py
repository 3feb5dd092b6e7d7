"""Every network that the configuration takes can be made, learns, and stays finite; every default suits every shape."""

from __future__ import annotations

from typing import Any, get_args

import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from plain_forward import seeded

from ffstream.config import NetworkConfig, OptimizerConfig, parse
from ffstream.config.network import Activation, Against, Corruption, Goodness
from ffstream.errors import ConfigError
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network

EACH = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=3)
LABELS = st.integers(2, 1000) | st.integers(2, 30)
WIDTHS = st.lists(st.integers(1, 40), min_size=1, max_size=3)
LAYERS = st.lists(
    st.fixed_dictionaries(
        {"units": st.integers(1, 12)},
        optional={
            "kind": st.sampled_from(["dense", "local", "convolution"]),
            "kernel": st.integers(1, 4),
            "stride": st.integers(1, 2),
            "padding": st.integers(0, 2),
            "pool": st.integers(1, 2),
            "regions": st.integers(0, 2),
        },
    ),
    min_size=1,
    max_size=2,
)
OPTIONS = st.fixed_dictionaries(
    {"shape": SHAPES, "labels": st.integers(2, 40)},
    optional={
        "hidden": WIDTHS,
        "layers": LAYERS,
        "coding": st.sampled_from(["assembly", "context", "overlay", "none"]),
        "assemblies": st.sampled_from(["disjoint", "random", "learned"]),
        "activation": st.sampled_from(get_args(Activation)),
        "goodness": st.sampled_from(get_args(Goodness)),
        "against": st.sampled_from(get_args(Against)),
        "negatives": st.sampled_from(["belief", "uniform", *get_args(Corruption)]),
        "temperature": st.sampled_from(["width", 1.0, 20.0]),
        "threshold": st.sampled_from(["width", "running", 0.5]),
        "readout": st.sampled_from(["none", "all", "upper"]),
        "prediction": st.sampled_from(["goodness", "readout", "cascade", "top_goodness"]),
        "centring": st.booleans(),
        "homeostasis": st.booleans(),
        "peer": st.sampled_from([0.0, 0.03]),
    },
)
RULES = st.sampled_from(["in_place", "momentum", "adam", "unit", "factored"])


def learned(config: NetworkConfig, rule: str, scale: float = 1.0, count: int = 5) -> Network:
    """Make a network and let it learn twice in each phase."""
    network = Network(config, OptimizerConfig.model_validate({"rule": rule}), torch.device("cpu"))
    rows = scale * torch.rand(count + 2, config.width, generator=seeded())
    labels = torch.arange(count) % config.labels
    for phase in 2 * list(Phase):
        network.sweep(rows, Lesson(labels, phase), seeded(1))
    return network


@EACH
@given(SHAPES, LABELS)
def test_every_default_is_valid_for_every_shape_and_number_of_labels(shape, labels):
    config = parse({"network": {"shape": shape, "labels": labels}}, "test")
    assert (config.network.width, config.network.labels) == (torch.Size(shape).numel(), labels)


@EACH
@given(SHAPES, LABELS, WIDTHS, st.sampled_from([1e-3, 1.0, 1e3]), st.sampled_from([1, 5, 70]))
def test_every_width_and_depth_learns_any_number_of_labels_and_stays_finite(shape, labels, hidden, scale, count):
    config = NetworkConfig.model_validate({"shape": shape, "labels": labels, "hidden": hidden})
    network = learned(config, "in_place", scale, count)
    assert all(tensor.isfinite().all() for tensor in network.state().values())


@EACH
@given(OPTIONS, RULES)
def test_what_the_configuration_takes_can_be_made_and_learns_and_stays_finite(options: dict[str, Any], rule: str):
    try:
        config = parse({"network": options}, "test").network
    except ConfigError:
        # Too many of these would fail the test.
        reject()
    network = learned(config, rule)
    assert all(tensor.isfinite().all() for tensor in network.state().values())
    found = network.sweep(torch.rand(3, config.width, generator=seeded(2)))
    assert found.evidence.shape == (3, config.labels)
