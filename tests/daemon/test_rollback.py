"""Checkpoints under a name, and the way back to them, with a real daemon."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest
from daemons import PATIENCE_S, until

from ffstream import Client
from ffstream.errors import Refused, Unreachable


def learn(client, digits, start, count=320):
    learned = client.status()["samples_learned"] + count
    client.feed(digits[0][start : start + count], digits[1][start : start + count])
    client.flush()
    until(lambda: client.status()["samples_learned"] >= learned)


def stand_still(client):
    """Hold, so that nothing but a rollback changes the weights."""
    client.control("hold")


def test_learning_goes_back_to_a_named_checkpoint_and_on_from_there(start_daemon, digits):
    daemon = start_daemon()
    with Client(daemon.address, feeder="line") as client:
        learn(client, digits, 0)
        stand_still(client)
        client.control("checkpoint", checkpoint="good")
        saved, answered = client.status(), client.predict(digits[0][:50])
        client.control("resume")
        learn(client, digits, 320, 640)
        stand_still(client)
        later = client.status()["version"]
        assert later > saved["version"]
        assert not np.array_equal(client.predict(digits[0][:50]).goodness, answered.goodness)

        reply = client.control("rollback", checkpoint="good")
        assert (reply["from_version"], reply["to_version"], reply["version"]) == (
            later,
            saved["version"],
            saved["version"],
        )
        assert np.array_equal(client.predict(digits[0][:50]).goodness, answered.goodness)
        assert reply["holding"]
        assert reply["samples_learned"] == 320

        client.control("resume")
        learn(client, digits, 960)
        assert client.acknowledged == 1280
        status = client.status()
        assert status["samples_learned"] == 640
        assert status["version"] > saved["version"]
        listed = {one["name"]: one for one in client.control("checkpoints")["checkpoints"]}
        assert listed["good"]["pinned"]
        assert (listed["good"]["version"], listed["good"]["samples_learned"]) == (saved["version"], 320)
        assert listed[reply["checkpoint"]]["serial"] > listed["good"]["serial"]
        with client.events("rollback", after=0, timeout_s=PATIENCE_S) as events:
            event = next(iter(events))
        assert event.fields == {
            "checkpoint": "good",
            "from_version": later,
            "to_version": saved["version"],
            "phase": event.fields["phase"],
        }
    until(lambda: daemon.metrics()["ffstream_rollbacks_total"] == 1)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_restart_comes_up_with_the_line_that_was_gone_back_to(start_daemon, digits, how):
    first = start_daemon()
    with Client(first.address, feeder="line", epoch=1) as client:
        learn(client, digits, 0)
        stand_still(client)
        client.control("checkpoint", checkpoint="good")
        client.control("resume")
        learn(client, digits, 320)
        stand_still(client)
        client.control("rollback", checkpoint="good")
        client.control("resume")
        learn(client, digits, 640, 64)
        stand_still(client)
        before, answered = client.status(), client.predict(digits[0][:50])
    first.process.send_signal(how)
    first.process.wait(PATIENCE_S)
    second = start_daemon(directory=first.config.state.directory)
    with Client(second.address) as client:
        after = client.status()
        assert np.array_equal(client.predict(digits[0][:50]).goodness, answered.goodness)
    same = ("version", "samples_learned", "wake_steps", "sleep_steps", "prequential", "memory_samples", "holding")
    assert [after[key] for key in same] == [before[key] for key in same]


def test_a_daemon_killed_before_it_could_save_goes_back_again(start_daemon, digits, monkeypatch):
    # The second checkpoint to be published is the one that follows the rollback.
    monkeypatch.setenv("FFSTREAM_FAILPOINT", "checkpoint.rename@2:kill")
    first = start_daemon()
    with Client(first.address) as client:
        learn(client, digits, 0)
        stand_still(client)
        good = client.control("checkpoint", checkpoint="good")
        answered = client.predict(digits[0][:50])
        client.control("resume")
        learn(client, digits, 320)
        stand_still(client)
    with pytest.raises(Unreachable), Client(first.address, timeout_s=2) as client:
        client.control("rollback", checkpoint="good")
    assert first.process.wait(PATIENCE_S) == -signal.SIGKILL
    monkeypatch.delenv("FFSTREAM_FAILPOINT")
    second = start_daemon(directory=first.config.state.directory)
    with Client(second.address) as client:
        assert np.array_equal(client.predict(digits[0][:50]).goodness, answered.goodness)
        status = client.status()
        assert (status["version"], status["samples_learned"]) == (good["version"], 320)


def test_a_rollback_that_cannot_be_is_refused_and_the_daemon_lives_on(daemon, client, digits):
    learn(client, digits, 0)
    stand_still(client)
    client.control("checkpoint", checkpoint="harmed")
    folder = daemon.config.state.directory / "harmed"
    content = (folder / "network.safetensors").read_bytes()
    (folder / "network.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    status, answered = client.status(), client.predict(digits[0][:50])
    for name, said in (
        ("nobody", "the newest are: harmed"),
        ("harmed", "network.safetensors"),
        ("../x", "no checkpoint"),
    ):
        with pytest.raises(Refused, match=said) as refused:
            client.control("rollback", checkpoint=name)
        assert (refused.value.code, refused.value.field) == ("bad_checkpoint", "checkpoint")
    assert client.status()["version"] == status["version"]
    assert np.array_equal(client.predict(digits[0][:50]).goodness, answered.goodness)
    client.control("resume")
    learn(client, digits, 320)
    assert client.status()["samples_learned"] == 640


def test_a_name_is_not_asked_for_twice_however_long_the_daemon_takes(daemon):
    with Client(daemon.address, timeout_s=15) as client:
        client.status()
        daemon.process.send_signal(signal.SIGSTOP)
        # A client that waits for 15 s sends most requests again after 5.
        threading.Timer(5.5, daemon.process.send_signal, [signal.SIGCONT]).start()
        assert client.control("checkpoint", checkpoint="mine")["checkpoint"] == "mine"


def test_a_name_that_is_taken_or_cannot_be_one_is_refused(client):
    client.control("checkpoint", checkpoint="mine")
    for name, said in (("mine", "taken"), ("a/b", "cannot be a name"), ("checkpoint-000001", "cannot be a name")):
        with pytest.raises(Refused, match=said) as refused:
            client.control("checkpoint", checkpoint=name)
        assert refused.value.code == "not_saved"
