"""What dies, fills up, fails or stands still, and what becomes of samples then; on real daemons."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from daemons import PATIENCE_S, until

from ffstream import Client, failpoints
from ffstream.errors import Refused

RARELY = {"checkpoint_s": 1e6}


def kill(daemon):
    daemon.process.kill()
    daemon.process.wait()


def follow(start_daemon, daemon, **more):
    """Start a daemon in the place of one that is gone."""
    state = {**RARELY, "directory": str(daemon.config.state.directory)}
    return start_daemon(port=daemon.config.server.port, state=state, **more)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_what_was_acknowledged_is_learned_once_though_the_daemon_is_killed_under_its_feeder(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon(state=RARELY)
    with Client(daemon.address, feeder="line", epoch=1, timeout_s=PATIENCE_S) as client:
        for start in range(0, 600, 50):
            client.feed(images[start : start + 50], labels[start : start + 50])
        kill(daemon)
        again = follow(start_daemon, daemon)
        for start in range(600, 1200, 50):
            client.feed(images[start : start + 50], labels[start : start + 50])
        client.flush()
        assert client.acknowledged == 1200
        until(lambda: client.status()["samples_learned"] == 1200)
    assert again.stop() == 0


def test_a_killed_daemon_predicts_as_before(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon(state=RARELY)
    with Client(daemon.address, ack="learned") as client:
        client.feed(images[:600], labels[:600])
        client.flush()
        # When this is answered every step before it is on disk.
        client.control("hold")
        before = client.predict(images[:50])
    kill(daemon)
    follow(start_daemon, daemon)
    with Client(daemon.address) as client:
        after = client.predict(images[:50])
    assert (after.version, after.catching_up) == (before.version, False)
    assert np.array_equal(before.goodness, after.goodness)


def test_a_feeder_that_died_goes_on_where_it_was_acknowledged(daemon, digits):
    feeder = multiprocessing.get_context("spawn").Process(target=_feed_for_ever, args=(daemon.address, *digits))
    feeder.start()
    with Client(daemon.address, feeder="mortal", epoch=1, ack="learned") as client:
        until(lambda: client.status()["samples_learned"] > 200)
        feeder.kill()
        feeder.join()
        images, labels = (np.concatenate([part] * 40) for part in digits)
        client.feed(images[:20_000], labels[:20_000])
        client.flush()
        assert client.status()["samples_learned"] == 20_000


def _feed_for_ever(address, images, labels):
    with Client(address, feeder="mortal", epoch=1) as client:
        for start in itertools.cycle(range(0, 1750, 50)):
            client.feed(images[start : start + 50], labels[start : start + 50])
            time.sleep(0.01)


def test_a_daemon_that_stood_still_goes_on(daemon, client, digits):
    images, labels = digits
    daemon.process.send_signal(signal.SIGSTOP)
    feeding = threading.Thread(target=client.feed, args=(images[:300], labels[:300]))
    feeding.start()
    time.sleep(3)  # Longer than a feeder bears silence, and than most requests wait for their answer.
    daemon.process.send_signal(signal.SIGCONT)
    feeding.join()
    client.flush()
    assert client.status()["samples_learned"] == 300
    assert daemon.get("/livez")[0] == 200


def test_a_full_disk_stops_acknowledgements_and_nothing_else_and_recovers(start_daemon, small_disk, digits):
    images, labels = (np.concatenate([part] * 60) for part in digits)
    daemon = start_daemon(state={**RARELY, "directory": str(small_disk / "state")})
    (small_disk / "ballast").write_bytes(bytes(30 * 2**20))
    with Client(daemon.address, timeout_s=10, ack="learned") as client, Client(daemon.address) as asking:
        with pytest.raises(Refused, match="disk is full") as refusal:
            _feed(client, images, labels)
        assert refusal.value.code == "no_disk"
        until(lambda: daemon.metrics()["ffstream_journal_stalled"] == 1)
        assert len(asking.predict(images[:5]).labels) == 5
        with pytest.raises(Refused, match="not saved"):
            asking.control("checkpoint")
        held = client.acknowledged
        (small_disk / "ballast").unlink()
        until(lambda: _flushed(client))
        assert client.acknowledged > held
        assert asking.status()["samples_learned"] == client.acknowledged
        until(lambda: daemon.metrics()["ffstream_journal_stalled"] == 0)


def test_a_disk_that_is_full_at_the_start_is_a_reason_to_try_again_and_no_damage(start_daemon, small_disk):
    state = {**RARELY, "directory": str(small_disk / "state")}
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while ballast.write(bytes(4096)):
            pass
    full = start_daemon(state=state, wait=False)
    assert full.process.wait(PATIENCE_S) == 74
    said = full.log.read_text()
    assert ("disk" in said, "Traceback" in said, "restore" in said) == (True, False, False)
    (small_disk / "ballast").unlink()
    assert start_daemon(state=state).stop() == 0


def _feed(client, images, labels):
    for start in range(0, len(labels), 500):
        client.feed(images[start : start + 500], labels[start : start + 500])
    client.flush()


def _flushed(client):
    with contextlib.suppress(Refused):
        client.flush()
        return True
    return False


def test_a_write_that_fails_ends_the_daemon_and_loses_nothing_acknowledged(start_daemon, digits, monkeypatch):
    images, labels = digits
    monkeypatch.setenv(failpoints.VARIABLE, "journal.commit@3:fail")
    daemon = start_daemon(state=RARELY)
    with Client(daemon.address, feeder="line", epoch=1, timeout_s=PATIENCE_S) as client:
        feeding = threading.Thread(target=_feed_slowly, args=(client, images[:400], labels[:400]))
        feeding.start()
        assert daemon.process.wait(PATIENCE_S) == 74
        assert "Input/output error" in daemon.log.read_text()
        monkeypatch.delenv(failpoints.VARIABLE)
        follow(start_daemon, daemon)
        feeding.join()
        until(lambda: client.status()["samples_learned"] == 400)


def _feed_slowly(client, images, labels):
    for start in range(0, len(labels), 50):
        client.feed(images[start : start + 50], labels[start : start + 50])
        time.sleep(0.05)
    client.flush()


def test_a_sample_that_ends_the_daemon_is_set_aside_and_told(start_daemon, digits, monkeypatch):
    images, labels = digits
    monkeypatch.setenv(failpoints.VARIABLE, "sample.poison.7:kill")
    daemon = start_daemon(state=RARELY)
    with Client(daemon.address, feeder="poison", epoch=1, timeout_s=PATIENCE_S) as client:
        feeding = threading.Thread(target=_feed, args=(client, images[:40], labels[:40]))
        feeding.start()
        for _ in range(3):
            assert daemon.process.wait(PATIENCE_S) == -signal.SIGKILL
            daemon = follow(start_daemon, daemon, wait=False)
        feeding.join()
        until(lambda: client.status()["samples_learned"] == 39)
        with client.events("quarantine", after=0, timeout_s=PATIENCE_S) as events:
            told = next(iter(events)).fields
    assert (told["feeder"], told["sample"]) == ("poison", 7)
    kept = np.load(daemon.config.state.directory / told["file"])
    assert np.array_equal(kept["inputs"][0], images[7])
    until(lambda: daemon.metrics()["ffstream_samples_quarantined_total"] == 1)
    assert daemon.stop() == 0


def test_while_it_catches_up_it_answers_and_says_so_and_takes_no_samples(start_daemon, digits):
    images, labels = (np.concatenate([part] * 20) for part in digits)
    # Small batches take long to replay: longer than asking about everything does.
    engine = {"max_batch": 16}
    daemon = start_daemon(state=RARELY, engine=engine)
    with Client(daemon.address, ack="learned") as client:
        client.feed(images[:500], labels[:500])
        client.flush()
        client.control("hold")
        # While learning is held, this is the checkpoint's own.
        saved = client.control("checkpoint")["version"]
        client.control("resume")
        client.feed(images, labels)
        client.flush()
        learned = client.status()["samples_learned"]
    kill(daemon)
    again = follow(start_daemon, daemon, wait=False, engine=engine)
    with Client(again.address, timeout_s=PATIENCE_S) as client:
        meanwhile = client.predict(images[:5])
        assert meanwhile.catching_up
        assert meanwhile.version >= saved
        until(lambda: _answers(again))
        code, text = again.get("/readyz")
        assert (code, text.partition(":")[0]) == (503, "catching up")
        with pytest.raises(Refused, match="replayed"):
            client.control("sleep")
        client.feed(images[:10], labels[:10])
        client.flush()
        until(lambda: client.status()["samples_learned"] == learned + 10)
        assert not client.predict(images[:5]).catching_up
        assert again.get("/readyz")[0] == 200
        with client.events("recovery", after=0, timeout_s=PATIENCE_S) as events:
            assert next(iter(events)).fields["records"] > 0


def _answers(daemon):
    """Whether a daemon that starts listens for HTTP already."""
    with contextlib.suppress(ConnectionError):
        daemon.get("/livez")
        return True
    return False


def test_a_damaged_journal_is_refused_by_name(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon(state=RARELY)
    with Client(daemon.address) as client:
        client.feed(images[:600], labels[:600])
        client.flush()
    kill(daemon)
    journal = daemon.config.state.directory / "journal.sqlite"
    journal.write_bytes(b"")
    damaged = follow(start_daemon, daemon, wait=False)
    assert damaged.process.wait(PATIENCE_S) == 65
    assert "journal.sqlite" in damaged.log.read_text()


def test_a_state_directory_that_is_gone_does_not_stop_predictions(daemon, client, digits):
    images, labels = digits
    client.feed(images[:100], labels[:100])
    client.flush()
    shutil.rmtree(daemon.config.state.directory)
    with pytest.raises(Refused, match="not saved"):
        client.control("checkpoint")
    assert len(client.predict(images[:5]).labels) == 5
