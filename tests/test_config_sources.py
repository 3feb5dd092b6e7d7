"""Where a configuration comes from, and which place wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffstream.config import Config, Source, configure, is_setting
from ffstream.errors import ConfigError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my.toml"
    path.write_text("[server]\nport = 1001\n[network]\nlabels = 11\n")
    return path


def complaint(**places) -> str:
    with pytest.raises(ConfigError) as caught:
        configure(**places)
    return str(caught.value)


def test_without_any_place_it_is_the_defaults():
    assert configure() == Config()


def test_each_place_overrides_those_before_it(file):
    environment = {"FFSTREAM_SERVER__PORT": "1002"}
    flags = [Source("--port 1003", {"server": {"port": 1003}})]
    assert configure(file).server.port == 1001
    assert configure(file, environment).server.port == 1002
    assert configure(file, environment, flags).server.port == 1003
    assert configure(file, environment, flags, ["server.port=1004"]).server.port == 1004
    assert configure(file, environment, flags, ["server.port=1004", "server.port=1005"]).server.port == 1005


def test_a_place_leaves_the_other_keys_of_a_section_as_they_were(file):
    read = configure(file, assignments=["server.host=::1"])
    assert (read.server.host, read.server.port, read.network.labels) == ("::1", 1001, 11)


@pytest.mark.parametrize(
    ("assignment", "section", "key", "value"),
    [
        ("server.port=5710", "server", "port", 5710),
        ("network.hidden=[64, 32]", "network", "hidden", (64, 32)),
        ("state.journal=false", "state", "journal", False),
        ("optimizer.rate=2e-4", "optimizer", "rate", 2e-4),
        ('engine.device="cuda:1"', "engine", "device", "cuda:1"),
        ("engine.device=cuda:1", "engine", "device", "cuda:1"),
        ("server.host=::1", "server", "host", "::1"),
        ("phases.sleep_from=22:30", "phases", "sleep_from", "22:30"),
        ("state.directory=a=b", "state", "directory", Path("a=b")),
        ("state.directory=/a#b", "state", "directory", Path("/a#b")),
        ("state.directory=2026-01-01", "state", "directory", Path("2026-01-01")),
        ("state.directory=1\nkeep = 5", "state", "directory", Path("1\nkeep = 5")),
    ],
)
def test_a_value_is_toml_and_a_string_needs_no_quotes(assignment, section, key, value):
    place, _, text = assignment.partition("=")
    variable = "FFSTREAM_" + place.upper().replace(".", "__")
    for read in (configure(assignments=[assignment]), configure(environment={variable: text})):
        assert getattr(getattr(read, section), key) == value


def test_layers_can_be_set():
    layers = '[{kind = "convolution", units = 20}, {units = 30}]'
    assert [layer.units for layer in configure(assignments=[f"network.layers={layers}"]).network.layers] == [20, 30]


@pytest.mark.parametrize(
    "name", ["FFSTREAM_DATA", "FFSTREAM_ADDRESS", "FFSTREAM_FAILPOINT", "FFSTREAM_PORT", "PATH__X"]
)
def test_other_variables_are_left_alone(name):
    assert not is_setting(name)
    assert configure(environment={name: "what you like"}) == Config()


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (
            {"environment": {"FFSTREAM_SERVER__PROT": "1"}},
            "FFSTREAM_SERVER__PROT: server.prot: unknown key; did you mean 'port'?",
        ),
        (
            {"environment": {"FFSTREAM_SERVR__PORT": "1"}},
            "FFSTREAM_SERVR__PORT: servr: unknown key; did you mean 'server'?",
        ),
        ({"environment": {"FFSTREAM_SERVER__PORT__X": "1"}}, "FFSTREAM_SERVER__PORT__X: server.port__x: unknown key;"),
        ({"assignments": ["network.lables=3"]}, "--set network.lables=3: network.lables: unknown key; did you mean"),
        ({"assignments": ["server.port=0"]}, "--set server.port=0: server.port: Input should be greater than"),
        ({"assignments": ["network.hidden=[[[["]}, "--set network.hidden=[[[[: network.hidden: "),
        ({"assignments": ["network.hidden=" + "[" * 9_000]}, ": network.hidden: "),
        ({"flags": [Source("--port 0", {"server": {"port": 0}})]}, "--port 0: server.port: Input should be"),
        ({"assignments": ["server.port"]}, "--set server.port: expected SECTION.KEY=VALUE"),
        ({"assignments": ["port=1"]}, "--set port=1: expected SECTION.KEY=VALUE"),
        ({"assignments": ["network.layers.0.units=1"]}, ": expected SECTION.KEY=VALUE"),
    ],
)
def test_an_error_names_the_place_that_a_value_came_from(places, said):
    assert said in complaint(**places)


def test_the_place_that_is_named_is_the_one_that_won(file):
    file.write_text("[server]\nport = 0\n")
    assert configure(file, assignments=["server.port=5710"]).server.port == 5710
    assert complaint(file=file, assignments=["server.port=-1"]).startswith("--set server.port=-1: ")
    assert complaint(file=file, assignments=["server.host=::1"]).startswith(f"{file}: server.port: ")


def test_what_does_not_go_together_names_every_place_that_had_a_say(file):
    said = complaint(file=file, environment={"FFSTREAM_NETWORK__PREDICTION": "readout"})
    assert said.startswith(f"{file}, FFSTREAM_NETWORK__PREDICTION: network: prediction = 'readout' needs a read-out")


def test_a_section_that_is_no_table_is_the_files_error_whatever_comes_after(file):
    file.write_text("server = 5\n")
    assert complaint(file=file, assignments=["server.port=5710"]).endswith("not 5")


def test_a_home_directory_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert configure(assignments=["state.directory=~/x"]).state.directory == Path("/home/me/x")
    assert configure(assignments=["state.directory=~"]).state.directory == Path("/home/me")


def test_nobodys_home_directory_is_an_error():
    assert "state.directory: ~nobody-of-that-name is not the home directory of any user" in complaint(
        assignments=["state.directory=~nobody-of-that-name/x"]
    )
