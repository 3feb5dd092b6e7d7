"""``ffstream dream`` on a daemon that really dreams, its checkpoints and its events."""

from __future__ import annotations

import json

import numpy as np
import pytest
from daemons import PATIENCE_S
from test_cli import run
from test_picture import drawing

from ffstream import Client
from ffstream.errors import Unreachable


@pytest.fixture
def dreamer(start_daemon, digits):
    """A daemon that keeps no sample, and has learned the digits."""
    daemon = start_daemon(
        dreams={"source": "dream"}, engine={"memory_samples": 0, "report_ms": 20}, optimizer={"rate": 1.5e-3}
    )
    with Client(daemon.address, ack="learned") as client:
        client.feed(*digits)
        client.flush()
        client.control("checkpoint", checkpoint="rested")
        assert client.status()["memory_samples"] == 0
        assert client.status()["sleep_steps"] > 20
    return daemon


def test_a_checkpoint_dreams_before_and_after_sleep(dreamer, tmp_path):
    told = []
    for name in ("one", "two"):
        out, numbers = tmp_path / f"{name}.png", tmp_path / f"{name}.json"
        options = ("--each", "5", "--sleep", "20", "--seed", "3", "--out", str(out), "--json", str(numbers))
        done = run("dream", str(dreamer.config.state.directory / "rested"), *options)
        assert done.returncode == 0, done.stderr
        drawing(out)
        told.append(json.loads(numbers.read_text()))
    assert told[0] == told[1]
    assert told[0]["source"].startswith("rested, version ")
    dreams = told[0]["dreams"]
    assert [row["when"] for row in dreams] == ["before"] * 50 + ["after 20 steps of sleep"] * 50
    assert [row["label"] for row in dreams] == np.arange(10).repeat(5).tolist() * 2
    assert np.mean([row["label"] == row["read_as"] for row in dreams[:50]]) > 0.5
    before, after = ([row["goodness"] for row in part] for part in (dreams[:50], dreams[50:]))
    assert before != after
    assert "before: the network recognizes " in done.stdout


def test_a_state_directory_dreams_as_its_newest_checkpoint(dreamer, tmp_path):
    done = run("dream", str(dreamer.config.state.directory), "--out", str(tmp_path / "a.svg"))
    assert done.returncode == 0, done.stderr
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_a_live_daemon_dreams(dreamer, tmp_path):
    out, numbers = tmp_path / "live.png", tmp_path / "live.json"
    done = run("dream", "--each", "3", "--out", str(out), "--json", str(numbers), address=dreamer.address)
    assert done.returncode == 0, done.stderr
    drawing(out)
    dreams = json.loads(numbers.read_text())["dreams"]
    assert [row["label"] for row in dreams] == np.arange(10).repeat(3).tolist()
    assert np.mean([row["label"] == row["read_as"] for row in dreams]) > 0.5


def test_an_event_carries_the_dream(dreamer):
    with Client(dreamer.address) as client, client.events("dream", after=0, timeout_s=PATIENCE_S) as events:
        told = [event for event, _ in zip(events, range(12), strict=False)]
    for event in told:
        assert event.fields["image"].shape == (8, 8)
        assert event.fields["image"].dtype == np.float32
        assert 0 <= event.fields["image"].min() < event.fields["image"].max() <= 1
        assert len(event.fields["goodness"]) == 2


def refused(daemon, digits, count, folder):
    """Let a daemon learn so many digits and save, and return why its checkpoint is not dreamed of."""
    with Client(daemon.address, ack="learned") as client:
        client.feed(digits[0][:count], digits[1][:count])
        client.flush()
        client.control("checkpoint", checkpoint="young")
    done = run("dream", str(daemon.config.state.directory / "young"), "--out", str(folder / "a.png"))
    assert done.returncode == 65
    return done.stderr


def test_a_checkpoint_that_learned_no_dreams_says_what_to_set(daemon, digits, tmp_path):
    assert "set dreams.source to 'dream' or 'hybrid'" in refused(daemon, digits, 200, tmp_path)


def test_a_checkpoint_that_has_seen_too_little_says_so(start_daemon, digits, tmp_path):
    daemon = start_daemon(dreams={"source": "hybrid"})
    assert "too few to dream" in refused(daemon, digits, 50, tmp_path)


def test_a_live_daemon_that_does_not_dream_says_what_to_look_at(daemon, tmp_path):
    done = run("dream", "--out", str(tmp_path / "a.png"), address=daemon.address)
    assert done.returncode == Unreachable.exit_code
    assert "its dreams.source is 'dream'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"), [(("--sleep", "3"), "needs a checkpoint"), (("--out", "a.gif"), "a.gif")]
)
def test_what_cannot_be_is_refused(arguments, said):
    done = run("dream", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
