"""What every verb that measures has."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

from ffstream.cli import app

VERBS = [(group, verb) for group in ("bench", "experiment") for verb in get_command(app).commands[group].commands]
# Instead of torch: ends the process that imports it.
TORCH = "raise SystemExit(33)"


def test_there_are_verbs_that_measure():
    assert {("bench", "throughput"), ("experiment", "sleep-deprivation")} <= set(VERBS)


@pytest.mark.parametrize(("group", "verb"), VERBS)
def test_it_writes_json_on_request(group, verb):
    command = get_command(app).commands[group].commands[verb]
    assert "--json" in [option for parameter in command.params for option in parameter.opts]


@pytest.mark.parametrize(("group", "verb"), VERBS)
def test_it_shows_something_before_torch_is_imported(group, verb, tmp_path):
    (tmp_path / "torch.py").write_text(TORCH)
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ffstream.cli import main; main()"
    command = [sys.executable, "-c", code, str(tmp_path), group, verb]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 33, done.stderr
    assert done.stderr.endswith(f" {group} {verb}: loading …\n")
