"""The commands, as a person runs them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from daemons import PATIENCE_S

from ffstream.config import Config, load


def run(*arguments: str, stdin: str | None = None, address: str = "127.0.0.1:9") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ffstream", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "FFSTREAM_ADDRESS": address, "COLUMNS": "200"},
    )


@pytest.fixture
def arrays(tmp_path, digits):
    images, labels = digits
    path = tmp_path / "digits.npz"
    np.savez(path, inputs=images[:200], labels=labels[:200])
    return path


def test_help_lists_every_verb_and_demo_first():
    said = run("--help").stdout
    verbs = ["demo", "serve", "config", "feed", "predict", "watch", "ctl"]
    places = [said.index(f"│ {verb} ") for verb in verbs]
    assert places == sorted(places)


def test_config_prints_what_serve_reads(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(run("config").stdout)
    assert load(path) == Config()


def test_feed_then_predict_then_ctl(daemon, arrays, digits, tmp_path):
    fed = run("feed", str(arrays), "--passes", "2", "--seed", "0", address=daemon.address)
    assert fed.returncode == 0, fed.stderr
    assert fed.stdout.startswith("400 samples acknowledged as durable")
    one = tmp_path / "one.npy"
    np.save(one, digits[0][0])
    answer = json.loads(run("predict", str(one), "--json", address=daemon.address).stdout)
    assert answer["label"] == int(np.argmax(answer["probabilities"]))
    status = run("ctl", "wake", address=daemon.address).stdout
    assert "override" in status
    assert "wake" in status


def test_feed_reads_json_lines_from_standard_input(daemon, digits):
    images, labels = digits
    lines = "\n".join(
        json.dumps({"inputs": image.ravel().tolist(), "label": int(label)})
        for image, label in zip(images[:5], labels[:5], strict=True)
    )
    fed = run("feed", "-", stdin=lines, address=daemon.address)
    assert fed.stdout.startswith("5 samples acknowledged as durable"), fed.stderr


def test_feed_names_the_line_that_is_wrong(daemon):
    fed = run("feed", "-", stdin='{"inputs": [1, 2], "label": 3}\n', address=daemon.address)
    assert fed.returncode == 66
    assert "line 1" in fed.stderr
    assert "64 values" in fed.stderr


def test_feeding_data_of_another_shape_says_what_the_network_takes(daemon, tmp_path):
    path = tmp_path / "wrong.npz"
    np.savez(path, inputs=np.zeros((3, 28, 28), np.uint8), labels=np.zeros(3, np.int64))
    fed = run("feed", str(path), address=daemon.address)
    assert fed.returncode == 77
    assert "expected (n ≥ 1, 8, 8), got (3, 28, 28)" in fed.stderr


def test_predict_resizes_an_image_to_what_the_network_takes(daemon, tmp_path):
    from PIL import Image

    path = tmp_path / "seven.png"
    Image.new("RGB", (40, 30), "white").save(path)
    answer = run("predict", str(path), address=daemon.address)
    assert answer.returncode == 0, answer.stderr
    assert "seven.png" in answer.stdout


def test_predict_reads_standard_input(daemon):
    answer = run("predict", "-", "--json", stdin=json.dumps([0.5] * 64) + "\n", address=daemon.address)
    assert len(json.loads(answer.stdout)["probabilities"]) == 10


@pytest.mark.parametrize("arguments", [["ctl", "status"], ["predict", "-"], ["feed", "digits"], ["watch"]])
def test_without_a_daemon_each_verb_says_so_in_one_line(arguments):
    result = run(*arguments, stdin="")
    assert result.returncode == 75
    assert "ffstream serve" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_data_set_that_is_not_there_is_named_with_advice(daemon, tmp_path):
    fed = run("feed", "mnist", "--data-root", str(tmp_path), address=daemon.address)
    assert fed.returncode == 66
    assert "--download" in fed.stderr


def test_watch_draws_what_the_daemon_scores(daemon, client, digits):
    client.feed(digits[0][:200], digits[1][:200])
    client.flush()
    watching = subprocess.Popen(
        [sys.executable, "-m", "ffstream", "watch", "-a", daemon.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "120", "TTY_COMPATIBLE": "1", "PYTHONUNBUFFERED": "1"},
    )
    seen = ""
    for line in watching.stdout:
        seen += line
        if "dead units" in seen:
            break
    watching.terminate()
    watching.stdout.close()
    watching.wait(PATIENCE_S)
    assert "prequential" in seen
    assert "goodness real" in seen


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_runs_offline_to_its_end_and_leaves_nothing_running(tmp_path):
    path = tmp_path / "outcome.json"
    result = subprocess.run(
        [sys.executable, "-m", "ffstream", "demo", "--json", str(path)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    outcome = json.loads(path.read_text())
    assert outcome["samples_learned"] == 60_000
    assert outcome["dropped"] == 0
    assert outcome["prequential_accuracy"] >= 0.90
    assert outcome["test_accuracy"] >= 0.94
    assert outcome["wake_steps"] > 0
    assert outcome["sleep_steps"] > 0
    assert not list(tmp_path.glob("ffstream-demo-*"))
    assert not [line for line in _processes() if str(tmp_path) in line]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif("FFSTREAM_DATA" not in os.environ, reason="FFSTREAM_DATA names no folder with MNIST")
def test_one_pass_over_mnist_reaches_its_figures(tmp_path):
    path = tmp_path / "outcome.json"
    command = [sys.executable, "-m", "ffstream", "demo", "--dataset", "mnist", "--passes", "1", "--json", str(path)]
    subprocess.run([*command, "--data-root", os.environ["FFSTREAM_DATA"]], check=True, timeout=580)
    outcome = json.loads(path.read_text())
    assert outcome["samples_learned"] == 60_000
    assert outcome["prequential_accuracy"] >= 0.94
    assert outcome["test_accuracy"] >= 0.965
    assert outcome["dropped"] == 0
    assert outcome["queries"] >= 1_000
    assert outcome["wake_steps"] > 0
    assert outcome["sleep_steps"] > 0


def _processes() -> list[str]:
    """Return the command lines of every process; one that ends meanwhile is none."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return commands
