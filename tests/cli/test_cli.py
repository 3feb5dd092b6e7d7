"""The commands, as a person runs them."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import typer
from daemons import PATIENCE_S

from ffstream import __version__
from ffstream.cli import app
from ffstream.config import parse
from ffstream.daemon.spawn import Spawned, free_port


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
    assert "[bold]" not in said
    assert "ffstream serve --dataset digits" in said
    verbs = ["demo", "serve", "config", "feed", "predict", "watch", "ctl"]
    places = [said.index(f"│ {verb} ") for verb in verbs]
    assert places == sorted(places)


def test_the_version_is_printed_without_a_verb():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ffstream {__version__}\n", "")


def verbs(command, *words):
    """Find every verb, by the words that lead to it."""
    if not hasattr(command, "commands"):
        yield " ".join(words), command
        return
    for word, inner in command.commands.items():
        yield from verbs(inner, *words, word)


VERBS = dict(verbs(typer.main.get_command(app)))
TEXTS = {words: inspect.cleandoc(verb.help) for words, verb in VERBS.items()}
# Around examples.
FENCE = re.compile(r"^```$", re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_every_word_of_what_is_written(verb):
    """Brackets are no markup, and examples stand in lines of their own."""
    shown = run(*verb.split(), "--help").stdout
    lines = [line.strip() for line in shown.splitlines()]
    prose, *examples = FENCE.split(TEXTS[verb])
    for example in examples[::2]:
        assert not [line for line in example.strip().splitlines() if line not in lines]
    told = " ".join(lines)
    for word in " ".join([prose, *examples[1::2]]).replace("`", "").replace("*", "").split():
        assert word in told or word == "-"


def test_the_examples_of_help_name_only_verbs_and_options_that_there_are():
    blocks = [block for text in TEXTS.values() for block in FENCE.split(text)[1::2]]
    commands = [part for block in blocks for line in block.split("\n")[1:-1] for part in line.split(" && ")]
    assert len(commands) > 20
    for command in commands:
        words = shlex.split(command[command.index("ffstream ") :])[1:]
        verb = VERBS.get(" ".join(words[:2])) or VERBS[words[0]]
        known = {option for parameter in verb.params for option in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, command


def test_feed_then_predict_then_ctl(daemon, arrays, digits, tmp_path):
    fed = run("feed", str(arrays), "--passes", "2", "--seed", "0", address=daemon.address)
    assert fed.returncode == 0, fed.stderr
    assert fed.stdout.startswith("400 samples acknowledged as durable")
    one = tmp_path / "one.npy"
    np.save(one, digits[0][0])
    answer = json.loads(run("predict", str(one), "--json", address=daemon.address).stdout)
    assert answer["label"] == int(np.argmax(answer["probabilities"]))
    status = run("ctl", "wake", address=daemon.address).stdout
    assert "ffstream ctl wake, until ffstream ctl auto" in status


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
    assert fed.returncode == 66
    assert "has samples of shape (28, 28) with 2 labels, but the daemon at" in fed.stderr
    options = "--set 'network.shape=[28, 28]' --set network.labels=2 --set state.directory=wrong-state"
    assert f"start one that fits: ffstream serve {options}" in fed.stderr


def test_feeding_more_labels_than_the_network_has_says_so_before_any_is_fed(daemon, client, tmp_path):
    path = tmp_path / "wrong.npz"
    np.savez(path, inputs=np.zeros((3, 8, 8), np.uint8), labels=np.array([0, 1, 12]))
    fed = run("feed", str(path), address=daemon.address)
    assert fed.returncode == 66
    assert "--set network.labels=13" in fed.stderr
    assert client.status()["samples_learned"] == 0


def test_a_data_set_that_does_not_fit_is_answered_with_the_daemon_that_does(daemon):
    # It is known without the files, which are not there.
    fed = run("feed", "mnist", address=daemon.address)
    assert fed.returncode == 66
    assert "mnist has samples of shape (28, 28) with 10 labels" in fed.stderr
    advice = "start one that fits: ffstream serve --dataset mnist --set state.directory=mnist-state"
    assert fed.stderr.rstrip().endswith(advice)


@pytest.mark.timeout(300)
def test_the_first_example_of_feeding_is_true(tmp_path):
    """Both of its commands are run as they stand, in a folder of their own."""
    serve, feed = re.findall(r"^ffstream .*$", TEXTS["feed"], re.MULTILINE)[:2]
    port, log = free_port(), tmp_path / "log"
    environment = {**os.environ, "FFSTREAM_ADDRESS": f"127.0.0.1:{port}", "FFSTREAM_SERVER__PORT": str(port)}

    def start(line):
        command = [sys.executable, "-m", *shlex.split(line)]
        with log.open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, cwd=tmp_path, env=environment)

    daemon = start(serve)
    try:
        Spawned(daemon, parse({"server": {"port": port}}, "test"), log).wait_ready()
        feeder = start(feed)
        assert feeder.wait(PATIENCE_S) == 0, log.read_text()
        assert "4,311 samples acknowledged as durable" in log.read_text()
    finally:
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
    assert (tmp_path / "digits-state").is_dir()


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


def test_a_data_set_that_is_not_there_is_named_with_advice(start_daemon, tmp_path):
    daemon = start_daemon(network={"shape": [16, 16]})
    fed = run("feed", "usps", "--data-root", str(tmp_path), address=daemon.address)
    assert fed.returncode == 66
    assert f"ffstream demo --dataset usps --data-root {tmp_path} --download" in fed.stderr


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
