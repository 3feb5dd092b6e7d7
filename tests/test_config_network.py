"""The network's section: layers that say more of themselves, and options that do not go together."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from ffstream.config import Config, LayerConfig, NetworkConfig, parse, to_toml
from ffstream.errors import ConfigError

DEFAULTS = NetworkConfig()
CONVOLUTION = {"kind": "convolution", "units": 96, "kernel": 3, "padding": 1, "pool": 2, "regions": 2}
LOCAL = {"kind": "local", "units": 8, "kernel": 10, "stride": 6}
STATED = {
    "activation": "gelu",
    "goodness": "topk",
    "top_share": 0.25,
    "against": "labels",
    "threshold": "running",
    "temperature": "width",
}
READ = {"coding": "none", "negatives": "masks", "readout": "all", "prediction": "readout"}


def accepted(**network: Any) -> NetworkConfig:
    return parse({"network": network}, "test").network


def complaint(network: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse({"network": network}, "my.toml")
    return str(caught.value)


class TestStack:
    def test_hidden_is_short_for_dense_layers(self):
        assert [(layer.kind, layer.units) for layer in accepted(hidden=[64, 32]).stack] == [
            ("dense", 64),
            ("dense", 32),
        ]

    def test_layers_take_the_place_of_hidden(self):
        stack = accepted(hidden=[64], layers=[CONVOLUTION, {"units": 32}]).stack
        assert [(layer.kind, layer.units) for layer in stack] == [("convolution", 96), ("dense", 32)]

    def test_what_a_layer_leaves_out_is_as_the_network_says(self):
        ours = {"activation": "tanh", "goodness": "mean", "threshold": 2.0, "temperature": "width", "top_share": 0.5}
        stated, silent = accepted(**ours, layers=[{"units": 32, **STATED}, {"units": 32}]).stack
        assert {key: getattr(stated, key) for key in STATED} == STATED
        assert {key: getattr(silent, key) for key in STATED} == {**ours, "against": "threshold"}

    @pytest.mark.parametrize("key", STATED)
    def test_a_layer_may_state_one_thing_alone(self, key):
        (layer,) = accepted(layers=[{"units": 32, key: STATED[key]}]).stack
        for name, value in STATED.items():
            assert getattr(layer, name) == (value if name == key else getattr(DEFAULTS, name))

    def test_what_a_layer_states_is_kept_even_where_it_is_nothing(self):
        (layer,) = accepted(threshold=3.0, layers=[{"units": 32, "threshold": 0}]).stack
        assert layer.threshold == 0

    def test_the_stack_leaves_the_layers_as_they_were_written(self):
        network = accepted(layers=[{"units": 32}])
        assert network.stack[0].goodness == "squares"
        assert network.layers[0].goodness is None


@pytest.mark.parametrize(
    ("shape", "image", "width"),
    [([9], (9, 1, 1), 9), ([4, 5], (1, 4, 5), 20), ([3, 4, 5], (3, 4, 5), 60), ([2, 3, 4, 5], (120, 1, 1), 120)],
)
def test_a_sample_is_an_image_of_two_or_three_dimensions(shape, image, width):
    network = accepted(shape=shape, labels=3)
    assert (network.image, network.width) == (image, width)


@pytest.mark.parametrize(
    ("negatives", "corruption"), [("belief", None), ("uniform", None), ("blur", "blur"), ("shuffled", "shuffled")]
)
def test_negatives_are_other_labels_or_corrupted_inputs(negatives, corruption):
    assert accepted(negatives=negatives).corruption == corruption


@pytest.mark.parametrize(
    "network",
    [
        {"layers": [CONVOLUTION, {"kind": "local", "units": 8, "kernel": 2, **STATED}, {"units": 32}]},
        {"layers": [LOCAL], "threshold": "width", "temperature": "width"},
        {"layers": [{"units": 32, "threshold": 0.0}], "threshold": "running"},
        READ,
    ],
    ids=str,
)
def test_what_is_written_as_toml_reads_back_as_the_same(network):
    config = parse({"network": network}, "test")
    assert parse(tomllib.loads(to_toml(config)), "test") == config


def test_a_layer_is_written_with_what_it_says_and_no_more():
    config = parse({"network": {"layers": [{"units": 32, "goodness": "mean"}]}}, "test")
    (layer,) = tomllib.loads(to_toml(config))["network"]["layers"]
    assert layer["goodness"] == "mean"
    assert not {"activation", "threshold"} & set(layer)
    assert LayerConfig(**layer) == config.network.layers[0]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            {"coding": "overlay", "shape": [4], "labels": 5},
            "overlay coding writes 5 labels over the first pixels, but a sample has only 4 values",
        ),
        (
            {**READ, "negatives": "belief"},
            (
                "coding 'none' uses no labels, so negatives cannot be 'belief': set a corruption, such as "
                "negatives = 'masks'"
            ),
        ),
        (
            {**READ, "prediction": "goodness"},
            "goodness cannot tell labels apart under coding 'none': set readout and prediction = 'readout'",
        ),
        (
            {**READ, "readout": "none"},
            "goodness cannot tell labels apart under coding 'none': set readout and prediction = 'readout'",
        ),
        (
            {**READ, "against": "labels"},
            "coding 'none' has no labels to compare goodness with: set against = 'threshold'",
        ),
        (
            {"smoothing": 0.1},
            "smoothing applies only to a read-out and to against = 'labels': set one of them, or remove smoothing",
        ),
        ({"prediction": "readout"}, "prediction = 'readout' needs a read-out: set readout to 'all' or 'upper'"),
        ({"prediction": "cascade"}, "prediction = 'cascade' needs a read-out: set readout to 'all' or 'upper'"),
        ({"hidden": [64], "readout": "upper"}, "there is no layer above the first: set readout = 'all'"),
        ({"hidden": [64], "prediction": "upper_goodness"}, "there is no layer above the first"),
        (
            {"assemblies": "learned", "layers": [{"units": 64}, {"units": 64, "goodness": "ratio"}]},
            "learned assemblies do not work with goodness 'ratio': set assemblies = 'random'",
        ),
        (
            {"assemblies": "learned", "goodness": "topk"},
            "learned assemblies do not work with goodness 'topk': set assemblies = 'random'",
        ),
        ({"layers": [{**LOCAL, "kernel": 29}]}, "layers[0]: a kernel of 29 does not fit 28 x 28 places"),
        (
            {"layers": [CONVOLUTION, {**CONVOLUTION, "kernel": 17}]},
            "layers[1]: a kernel of 17 does not fit 14 x 14 places",
        ),
        ({"layers": [{**CONVOLUTION, "regions": 3}]}, "layers[0]: 28 x 28 places do not divide evenly into 3"),
        ({"layers": [{**LOCAL, "pool": 5}]}, "layers[0]: a pool of 5 leaves none of 4 x 4 places"),
        ({"layers": [{"units": 64}, LOCAL]}, "layers[1]: a kernel of 10 does not fit 1 x 1 places"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value.split(":")[0],
)
def test_what_does_not_go_together_is_refused_saying_why(network, said):
    told = complaint(network)
    assert told.startswith("my.toml: network: ")
    assert said in told


@pytest.mark.parametrize(
    "network",
    [
        {"hidden": [8], "assemblies": "random"},
        {"hidden": [8], "coding": "context"},
        {"coding": "overlay", "shape": [10]},
        {"layers": [{"kind": "local", "units": 2, "kernel": 14, "stride": 7}]},
        {"labels": 4, "shortlist": 5},
        {"hidden": [8], "assemblies": "learned"},
        {"layers": [{**CONVOLUTION, "units": 9}]},
        {"hidden": [64], "prediction": "top_goodness"},
        {"assemblies": "random", "goodness": "topk"},
        {"prediction": "cascade", "readout": "upper"},
        {"layers": [{**CONVOLUTION, "regions": 0}, {"units": 32}, {"units": 32}]},
        READ,
    ],
    ids=str,
)
def test_what_goes_together_is_accepted(network):
    assert accepted(**network).model_dump(include=set(network)).keys() == network.keys()


class TestALayerOfItsOwn:
    @pytest.mark.parametrize(
        ("layer", "said"),
        [
            ({"units": 8, "kernal": 3}, "network.layers.1.kernal: unknown key; did you mean 'kernel'?"),
            ({"units": 8, "zzz": 3}, "network.layers.1.zzz: unknown key; known here: kind, units, kernel, stride"),
        ],
    )
    def test_an_unknown_key_is_named_with_its_layer(self, layer, said):
        assert complaint({"layers": [LOCAL, layer]}).startswith(f"my.toml: {said}")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("kind", "pooling"),
            ("units", 0),
            ("kernel", 0),
            ("stride", 0),
            ("padding", -1),
            ("pool", 0),
            ("regions", -1),
            ("activation", "sigmoid"),
            ("goodness", "sum"),
            ("top_share", 1.5),
            ("against", "others"),
        ],
    )
    def test_a_bad_value_is_refused_by_layer_and_key(self, key, value):
        said = complaint({"layers": [LOCAL, {**CONVOLUTION, key: value}]})
        assert said.startswith(f"my.toml: network.layers.1.{key}: ")
        assert said.endswith(f"not {value!r}")

    def test_units_must_be_said(self):
        assert complaint({"layers": [{"kind": "dense"}]}).startswith("my.toml: network.layers.0.units: Field required")

    @pytest.mark.parametrize(
        ("key", "value"), [("kernel", 5), ("stride", 2), ("padding", 1), ("pool", 2), ("regions", 0)]
    )
    def test_a_dense_layer_has_no_places(self, key, value):
        said = complaint({"layers": [{"units": 32, key: value}]})
        assert f"a dense layer has no places; remove {key}" in said

    def test_all_that_a_dense_layer_has_not_is_named_at_once(self):
        said = complaint({"layers": [{"units": 32, "pool": 2, "regions": 2}]})
        assert "a dense layer has no places; remove pool, regions" in said


def test_the_default_network_is_dense():
    assert Config().network.layers == ()
    assert [layer.kind for layer in Config().network.stack] == ["dense", "dense"]
