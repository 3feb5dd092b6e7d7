from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from ffstream.config import Config, default_toml, load, parse, to_toml
from ffstream.errors import ConfigError


def complaint(values: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(values, "my.toml")
    return str(caught.value)


def test_the_default_file_reads_back_as_the_defaults(tmp_path):
    path = tmp_path / "ffstream.toml"
    path.write_text(default_toml(), "utf-8")
    assert load(path) == Config()


def test_an_empty_file_is_the_defaults(tmp_path):
    path = tmp_path / "ffstream.toml"
    path.write_text("")
    assert load(path) == Config()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"engine": {"memory_samples": 0}}, "dreams.source = 'memory' needs remembered samples"),
        ({"engine": {"memory_samples": 0}, "dreams": {"source": "hybrid"}}, "'hybrid' needs remembered samples"),
        (
            {"dreams": {"source": "dream"}, "network": {"layers": [{"kind": "convolution", "units": 20}]}},
            "'dream' needs a first layer that is dense, not convolution",
        ),
        ({"dreams": {"source": "hybrid"}, "network": {"coding": "overlay"}}, "set network.coding = 'assembly'"),
    ],
)
def test_dreams_that_cannot_be_are_refused(values, said):
    assert said in complaint(values)


def test_dreams_need_no_memory():
    assert parse({"engine": {"memory_samples": 0}, "dreams": {"source": "dream"}}, "test").engine.memory_samples == 0


def test_the_default_file_says_of_every_key_what_it_does():
    lines = default_toml().splitlines()
    bare = [line for before, line in itertools.pairwise(lines) if " = " in line and not before.startswith("# ")]
    assert bare == [line for line in bare if line.startswith("#")]
    assert sum(" = " in line and not line.startswith("#") for line in lines) == sum(
        len(type(getattr(Config(), name)).model_fields) for name in Config.model_fields
    )


def test_the_minimal_file_has_ten_keys_each_under_a_comment_and_reads_back_as_the_defaults():
    written = to_toml(Config(), minimal=True)
    lines = written.splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    assert len(keys) == 10
    assert all(lines[number - 1].startswith("# ") for number in keys)
    assert parse(tomllib.loads(written), "test") == Config()


def test_a_minimal_file_also_has_what_differs_from_the_defaults():
    config = parse({"network": {"labels": 3}, "dreams": {"source": "hybrid"}, "engine": {"window": 7}}, "test")
    written = to_toml(config, minimal=True)
    assert parse(tomllib.loads(written), "test") == config
    assert len(re.findall(r"^\w+ = ", written, re.MULTILINE)) == 12


@pytest.mark.parametrize(
    "values",
    [
        {"network": {"shape": [8, 8], "labels": 3, "hidden": [64], "coding": "overlay", "threshold": -0.5}},
        {"optimizer": {"rule": "in_place", "rate": 1e-9, "betas": [0, 0.999]}},
        {"state": {"directory": 'with "quotes" \\ and\ttabs'}},
        {"state": {"directory": "/data/\u00e9\u4e2d"}},
        {"state": {"directory": "/data/\U0001f634"}},
        {"state": {"directory": "/data/\x7f"}},
    ],
    ids=str,
)
def test_what_is_written_as_toml_reads_back_as_the_same(values):
    config = parse(values, "test")
    assert parse(tomllib.loads(to_toml(config)), "test") == config


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"netwrok": {}}, "netwrok: unknown key; did you mean 'network'?"),
        ({"network": {"lables": 10}}, "network.lables: unknown key; did you mean 'labels'?"),
        ({"server": {"message_sample": 3}}, "server.message_sample: unknown key; did you mean 'message_samples'?"),
    ],
)
def test_an_unknown_key_suggests_the_nearest(values, said):
    assert complaint(values) == f"my.toml: {said}"


def test_an_unknown_key_like_no_other_lists_those_that_are_known():
    assert complaint({"state": {"zzz": 1}}).endswith(
        "unknown key; known here: directory, journal, journal_bytes, checkpoint_s, keep"
    )


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("network", "shape", []),
        ("network", "shape.0", [0, 8]),
        ("network", "labels", 1),
        ("network", "hidden", "512"),
        ("network", "hidden.1", [8, -1]),
        ("network", "coding", "overlaid"),
        ("network", "assembly_share", 1.5),
        ("network", "temperature", 0),
        ("network", "temperature", float("inf")),
        ("network", "threshold", float("nan")),
        ("network", "threshold", "wide"),
        ("network", "activation", "sigmoid"),
        ("network", "goodness", "sum"),
        ("network", "top_share", 0),
        ("network", "against", "others"),
        ("network", "assemblies", "shared"),
        ("network", "negatives", "hard"),
        ("network", "readout", "lower"),
        ("network", "readout_rate", 0),
        ("network", "prediction", "vote"),
        ("network", "shortlist", 0),
        ("network", "peer", -0.1),
        ("network", "centring", 2),
        ("network", "seed", 2**32),
        ("optimizer", "rule", "sgd"),
        ("optimizer", "rate", -1.0),
        ("optimizer", "label_rate", 0),
        ("optimizer", "betas.1", [0.9, 1.0]),
        ("phases", "schedule", "never"),
        ("phases", "wake_steps", 0),
        ("phases", "sleep_steps", 1.5),
        ("phases", "quiet_ms", float("nan")),
        ("engine", "max_batch", 0),
        ("engine", "max_wait_ms", -1),
        ("server", "port", 65_531),
        ("server", "port", "http"),
        ("server", "host", 5),
        ("state", "directory", 5),
        ("state", "keep", 0),
    ],
)
def test_a_bad_value_is_refused_by_key_with_what_it_holds(section, key, value):
    name, _, index = key.partition(".")
    held = value[int(index)] if index else value
    # Of a value that may be a number or a name, each is a line, with which it is behind the key.
    line = rf"my\.toml: {section}\.{re.escape(key)}(\.\S+)?: .+, not {re.escape(repr(held))}"
    assert re.fullmatch(rf"{line}(\n{line})?", complaint({section: {name: value}}))


def test_every_bad_value_has_a_line_of_its_own():
    said = complaint({"network": {"labels": 0, "peer": -1}, "state": {"keep": 0}})
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_stochastic_rounding_is_refused_where_a_rule_does_not_know_it(rule):
    said = f"{rule} does not support rounding 'stochastic' (in_place, unit and factored do); set 'master'"
    assert said in complaint({"optimizer": {"rule": rule, "rounding": "stochastic"}})


@pytest.mark.parametrize("problem", ["missing", "a directory", "not TOML", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, problem):
    path = tmp_path / "my.toml"
    match problem:
        case "a directory":
            path.mkdir()
        case "not TOML":
            path.write_text("[network\n")
        case "not UTF-8":
            path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=f"^{path}: "):
        load(path)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError):
        Config().state.directory = Path()
