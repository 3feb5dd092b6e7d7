"""What reaches a user's terminal, whatever the address, the path, and the state of the output."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
import typer
from daemons import PATIENCE_S
from test_cli import run
from typer.testing import CliRunner

from ffstream.cli import app
from ffstream.cli.output import to_json


def shell(command, **environment):
    """Run a command line of bash; what stands for `ffstream` is this one."""
    ours = f"ffstream() {{ '{sys.executable}' -m ffstream \"$@\"; }}; set -o pipefail; "
    variables = {**os.environ, "FFSTREAM_ADDRESS": "127.0.0.1:9", **environment}
    return subprocess.run(
        ["bash", "-c", ours + command], capture_output=True, text=True, timeout=PATIENCE_S, env=variables, check=False
    )


@pytest.mark.parametrize("command", ["config", "--version", "--help", "feed --help", "config --minimal"])
def test_a_full_disk_is_an_error_of_one_line(command):
    done = shell(f"ffstream {command} > /dev/full")
    assert (done.returncode, done.stderr) == (74, "error: output: No space left on device\n")


def test_a_table_on_a_full_disk_is_an_error_of_one_line(daemon):
    done = shell("ffstream ctl status > /dev/full", FFSTREAM_ADDRESS=daemon.address)
    assert (done.returncode, done.stderr) == (74, "error: output: No space left on device\n")


@pytest.mark.parametrize("command", ["config", "--help", "--version", "config --check /nowhere"])
@pytest.mark.parametrize("output", ["| true", "| head -c 1", ">&-", ">&- 2>&-"])
def test_a_closed_output_is_no_error_to_talk_about(command, output):
    done = shell(f"ffstream {command} {output}")
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize(
    "address", ["5700", "a b", "[/k]:5700", "::1", "localhost:70000", "http://localhost", "\udcff"]
)
@pytest.mark.parametrize("verb", [["watch"], ["ctl", "status"], ["feed", "digits"], ["predict", "-"], ["dream"]])
def test_what_is_no_address_is_told_from_what_is(verb, address):
    said = CliRunner().invoke(app, [*verb, "-a", address], env={"COLUMNS": "200"})
    assert said.exit_code == 2
    assert "--address" in said.output
    assert "expected" in said.output


def test_an_address_in_the_environment_is_looked_at_too():
    done = run("watch", address="a b")
    assert done.returncode == 2
    assert "FFSTREAM_ADDRESS" in done.stderr
    assert "Traceback" not in done.stderr


# Markup that would be an error, markup that would vanish, a word that would become a picture.
NAMES = ("[/k]", "[bold]", ":x:")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_from_outside_is_printed_as_it_is(daemon, client, digits, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    np.savez(folder / "a.npz", inputs=digits[0][:20], labels=digits[1][:20])
    fed = run("feed", str(folder / "a.npz"), address=daemon.address)
    assert fed.returncode == 0, fed.stderr
    assert f"feeding {folder}/a.npz" in fed.stderr.replace("\n", "")
    answer = run("predict", str(folder / "a.npz"), address=daemon.address)
    assert f"{folder}/a.npz[19]" in answer.stdout, answer.stderr
    client.control("checkpoint", checkpoint="mine")
    damaged = daemon.config.state.directory.rename(folder / "state")
    (damaged / "mine" / "manifest.json").write_text("{}")
    (damaged / "[bold]other").touch()
    listed = run("inspect", str(damaged))
    assert listed.returncode == 0, listed.stderr
    assert "mine: manifest.json" in listed.stdout
    assert "[bold]other" in listed.stdout
    for verb in (
        ["feed", f"{folder}/none.npz"],
        ["inspect", f"{folder}/none"],
        ["config", "--check", f"{folder}/none"],
    ):
        refused = run(*verb, address=daemon.address)
        assert (name in refused.stderr, "Traceback" in refused.stderr) == (True, False)


def test_a_path_that_is_no_text_is_printed_with_escapes(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.toml")
    path.touch()
    done = run("config", "--check", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\\udcff.toml: valid\n")


@pytest.mark.parametrize(
    "verb",
    [
        ["demo", "--json", "{}/missing/a.json"],
        ["inspect", "{}", "--json", "{}"],
        ["dream", "{}", "--out", "{}/missing/a.png"],
        ["picture", "fields", "{}", "--json", "{}/missing/a.json"],
        ["bench", "throughput", "--quick", "--json", "{}/missing/a.json"],
        ["bench", "throughput", "--quick", "--figure", "{}/a.bmp"],
        ["experiment", "dreams", "--quick", "--out", "{}/file"],
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(tmp_path, verb):
    (tmp_path / "file").touch()
    done = run(*(part.format(tmp_path) for part in verb))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr or "a.bmp" in done.stderr


def test_a_result_on_a_full_disk_is_an_error_of_one_line(daemon, tmp_path):
    done = run("inspect", str(daemon.config.state.directory), "--json", "/dev/full")
    assert (done.returncode, done.stderr) == (74, "error: output: No space left on device\n")


def verbs(typer_app):
    """Find the functions behind all verbs, those of groups included."""
    for command in typer_app.registered_commands:
        yield command.callback
    for group in typer_app.registered_groups:
        yield from verbs(group.typer_instance)


def takes_paths():
    for verb in verbs(app):
        for name, hint in typing.get_type_hints(verb, include_extras=True).items():
            if "Path" in repr(typing.get_args(hint)[:1] or hint):
                yield pytest.param(hint, id=f"{verb.__name__}-{name}")


@pytest.mark.parametrize("hint", [*takes_paths()])
def test_every_path_may_begin_at_home(monkeypatch, hint):
    """A shell replaces ``~`` in ``--out ~/a.png``, but not in ``--out=~/a.png``."""
    monkeypatch.setenv("HOME", "/tmp")
    (option,) = (one for one in hint.__metadata__ if isinstance(one, typer.models.ParameterInfo))
    path = Path("~/a.png")
    given = [path] if "list" in repr(hint) else path
    assert option.callback is not None
    assert option.callback(given) == ([Path("/tmp/a.png")] if given is not path else Path("/tmp/a.png"))


def test_a_data_root_at_home_is_found(tmp_path):
    done = shell("ffstream bench optimizers --dataset mnist --data-root=~/data", HOME=str(tmp_path))
    assert done.returncode == 66
    assert f"mnist is not in {tmp_path}/data" in done.stderr


def test_json_has_neither_nan_nor_infinity():
    told = {"a": [math.nan, 1.5, (math.inf,)], "b": {"c": -math.inf}, "d": True}
    assert json.loads(to_json(told)) == {"a": [None, 1.5, [None]], "b": {"c": None}, "d": True}
