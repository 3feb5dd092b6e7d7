"""``ffstream serve`` and ``ffstream config``: the ways in of a configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest
from daemons import PATIENCE_S
from test_cli import run

from ffstream import Client
from ffstream.config import Config, load, parse
from ffstream.daemon.spawn import Spawned, free_port, spawn
from ffstream.data.datasets import KNOWN


def configured(*arguments, **environment):
    """Run a verb with settings in its environment."""
    command = [sys.executable, "-m", "ffstream", *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=variables, check=False)


@pytest.mark.timeout(300)
def test_every_way_in_reaches_the_daemon(tmp_path):
    file, log, port = tmp_path / "my.toml", tmp_path / "log", free_port()
    file.write_text(
        f'[network]\nhidden = [32]\nlabels = 12\n[state]\ndirectory = "~/state"\n[server]\nport = {port + 7}'
    )
    command = ["serve", "-c", str(file), "--dataset", "digits", "--port", str(port), "--set", "engine.compile=false"]
    environment = {**os.environ, "FFSTREAM_NETWORK__HIDDEN": "[48, 48]", "HOME": str(tmp_path)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ffstream", *command], stdout=output, stderr=output, cwd=tmp_path, env=environment
        )
    try:
        config = parse({"server": {"port": port}}, "test")
        Spawned(process, config, log).wait_ready()
        with Client(f"127.0.0.1:{port}") as client:
            status = client.status()
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
    assert (status["shape"], status["labels"], status["hidden"]) == ([8, 8], 10, [48, 48])
    assert (tmp_path / "state" / "journal.sqlite").exists()
    assert not (tmp_path / "~").exists()
    assert log.read_text().splitlines()[0].endswith(f"starting on 127.0.0.1:{port}, state in {tmp_path}/state")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--set", "server.prot=1"], 78, "--set server.prot=1: server.prot: unknown key; did you mean 'port'?"),
        (["--set", "engine.max_batch=0"], 78, "--set engine.max_batch=0: engine.max_batch: "),
        (["--set", "nonsense"], 78, "--set nonsense: expected SECTION.KEY=VALUE"),
        (["--dataset", "mnits"], 66, "no data set is called 'mnits'; there are digits, mnist"),
        (
            ["--dataset", "cifar100", "--set", "network.prediction=readout"],
            78,
            "--dataset cifar100, --set network.prediction=readout: network: prediction = 'readout' needs a read-out",
        ),
        (["--port", "70000"], 2, "--port"),
        (["-c", "/nowhere/my.toml"], 78, "/nowhere/my.toml: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_served_names_the_place_that_it_came_from(arguments, code, said):
    done = run("serve", *arguments)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert said in done.stderr


def test_an_unknown_variable_is_an_error_that_names_it():
    done = configured("serve", FFSTREAM_SERVER__PROT="1")
    assert done.returncode == 78
    assert done.stderr == "error: FFSTREAM_SERVER__PROT: server.prot: unknown key; did you mean 'port'?\n"


def test_config_prints_what_serve_reads(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(run("config").stdout)
    assert load(path) == Config()


def test_the_minimal_configuration_has_ten_keys_and_is_the_defaults(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(run("config", "--minimal").stdout)
    assert load(path) == Config()
    assert sum(map(len, tomllib.loads(path.read_text()).values())) == 10


@pytest.mark.parametrize("form", [[], ["--minimal"]])
def test_config_prints_the_values_that_are_set(form):
    done = configured("config", *form, "--set", "server.port=5710", FFSTREAM_NETWORK__LABELS="26")
    told = tomllib.loads(done.stdout)
    assert (told["server"]["port"], told["network"]["labels"]) == (5710, 26)


def test_a_valid_file_is_said_to_be_so(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text("[server]\nport = 5710\n")
    done = run("config", "--check", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: valid\n", "")


def test_an_invalid_file_has_a_line_for_each_error(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text("[server]\nprot = 5710\n[network]\nlabels = 1\n[state]\nkeep = 0\n")
    done = run("config", "--check", str(path))
    assert (done.returncode, done.stdout) == (78, "")
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        [str(path), key] for key in ("network.labels", "server.prot", "state.keep")
    ]


def test_what_is_set_counts_where_a_file_is_checked(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text("[network]\nlabels = 1\n")
    assert run("config", "--check", str(path), "--set", "network.labels=2").returncode == 0
    assert configured("config", "--check", str(path), FFSTREAM_NETWORK__LABELS="2").returncode == 0
    assert configured("config", "--check", str(path), FFSTREAM_NETWORK__LABELS="0").returncode == 78


@pytest.mark.parametrize("name", KNOWN)
def test_every_data_set_fits_a_network_of_its_own(name):
    known = KNOWN[name]
    config = parse({"network": {"shape": known.shape, "labels": known.labels}}, "test")
    assert (config.network.shape, config.network.labels) == (known.shape, known.labels)


def test_a_daemon_for_a_while_is_not_configured_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FFSTREAM_NETWORK__HIDDEN", "[16]")
    values = {"network": {"shape": [4], "hidden": [32]}, "engine": {"compile": False}}
    config = parse({**values, "server": {"port": free_port()}, "state": {"directory": str(tmp_path / "s")}}, "test")
    with spawn(config, tmp_path) as daemon, Client(daemon.address) as client:
        assert client.status()["hidden"] == [32]
