"""Samples without a label: refused where the network learns from labels, learned where it does not; on real daemons."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import zmq
from daemons import PATIENCE_S, predictions, until
from PIL import Image
from plain_client import PUSH, Feeder, Line

from ffstream import Client
from ffstream.errors import Refused

# Learns without labels, and reads out what it has learned by those that come.
UNSUPERVISED = {"coding": "none", "negatives": "masks", "readout": "all", "prediction": "readout"}


def feed_all(client, images, labels=None):
    client.feed(images, labels)
    client.flush()


def feed(source, daemon, stdin=None):
    return subprocess.run(
        [sys.executable, "-m", "ffstream", "feed", str(source)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "FFSTREAM_ADDRESS": daemon.address},
    )


def score(client):
    """Return the next score event."""
    with client.events("score", timeout_s=PATIENCE_S) as events:
        return next(iter(events)).fields


def unlabelled(daemon):
    return daemon.metrics()["ffstream_samples_unlabelled_total"]


@pytest.fixture
def unsupervised(start_daemon):
    return start_daemon(network=UNSUPERVISED)


# --- a network that learns from labels ---


@pytest.mark.parametrize("labels", [None, [3, -1]], ids=["none at all", "one is missing"])
def test_a_network_that_needs_labels_refuses_samples_without_and_goes_on(client, digits, labels):
    images, targets = digits
    with pytest.raises(Refused, match=r"it has no label.*network\.coding") as refused:
        feed_all(client, images[:2], labels)
    assert (refused.value.code, refused.value.field) == ("bad_label", "labels")
    feed_all(client, images[:100], targets[:100])
    assert client.status()["samples_learned"] == 100


def test_a_network_that_needs_labels_drops_pushed_samples_without_and_counts_them(daemon, client, digits):
    client.push(digits[0][:7])
    until(lambda: daemon.metrics().get('ffstream_samples_dropped_total{reason="bad_label"}') == 7)
    assert (client.status()["samples_learned"], unlabelled(daemon)) == (0, 0)


def test_feed_says_why_samples_without_a_label_are_refused(daemon, digits, tmp_path):
    np.save(tmp_path / "s.npy", digits[0][:20])
    fed = feed(tmp_path / "s.npy", daemon)
    assert fed.returncode == 77
    assert "it has no label" in fed.stderr
    assert "Traceback" not in fed.stderr


# --- a network that does not ---


def test_samples_without_a_label_are_learned_counted_and_never_scored(unsupervised, digits):
    with Client(unsupervised.address, ack="learned") as client:
        client.feed(digits[0][:300])
        client.push(digits[0][:20])
        client.flush()
        until(lambda: client.status()["samples_learned"] == 320)
        assert math.isnan(client.status()["prequential"])
        told = score(client)
        assert math.isnan(told["prequential"])
        assert math.isnan(told["prequential_window"])
        labels, predicted = predictions(client, 320)
    assert labels == [-1] * 320
    assert set(predicted) <= set(range(10))
    until(lambda: unlabelled(unsupervised) == 320)
    assert not [name for name in unsupervised.metrics() if name.startswith("ffstream_prequential_accuracy{")]


def test_the_prequential_accuracy_is_that_of_the_labelled_samples(unsupervised, digits):
    images, labels = digits
    some = np.where(np.arange(1200) % 3, labels[:1200], -1)
    with Client(unsupervised.address, ack="learned") as client:
        feed_all(client, images[:1200], some)
        told, predicted = map(np.array, predictions(client, 1200))
        status = client.status()
    assert told.tolist() == some.tolist()
    assert status["prequential"] == pytest.approx((told == predicted)[told >= 0].mean())
    assert status["samples_learned"] == 1200
    until(lambda: unlabelled(unsupervised) == 400)


def test_labels_are_checked_where_they_come(unsupervised, digits):
    with Client(unsupervised.address) as client:
        for wrong in (-2, 10):
            with pytest.raises(Refused, match=f"expected 0 to 9, got {wrong} in row 1"):
                feed_all(client, digits[0][:2], [-1, wrong])


def test_the_tensor_of_labels_is_needed_all_the_same(unsupervised, digits):
    with Feeder(unsupervised) as feeder:
        feeder.listen()
        feeder.send("samples", {"inputs": digits[0][:3]}, **feeder.who, first=0, count=3)
        assert feeder.listen()["code"] == "missing_tensor"
    with Line(unsupervised, PUSH, zmq.PUSH) as line:
        line.send("samples", {"inputs": digits[0][:3], "labels": np.full(3, -1, np.int32)}, count=3)
        until(lambda: unlabelled(unsupervised) == 3)


def test_feed_reads_files_folders_and_lines_without_labels(unsupervised, digits, tmp_path):
    images = digits[0][:9]
    np.save(tmp_path / "s.npy", images)
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    lines = "\n".join(json.dumps({"inputs": image.tolist()}) for image in images)
    for count, (source, stdin) in enumerate([(tmp_path / "s.npy", None), (folder, None), ("-", lines)], start=1):
        fed = feed(source, unsupervised, stdin)
        assert fed.stdout.startswith("9 samples acknowledged"), fed.stderr
        until(lambda count=count: unlabelled(unsupervised) == 9 * count)


def test_what_was_acknowledged_without_a_label_is_learned_after_a_kill(start_daemon, unsupervised, digits):
    with Client(unsupervised.address, timeout_s=60) as client:
        feed_all(client, digits[0][:300])
        client.control("hold")
        feed_all(client, digits[0][300:400])
        learned = client.status()["samples_learned"]
        before = client.predict(digits[0][:50])
    unsupervised.process.kill()
    unsupervised.process.wait()
    config = unsupervised.config
    again = start_daemon(port=config.server.port, network=UNSUPERVISED)
    with Client(again.address) as client:
        after = client.predict(digits[0][:50])
        assert client.status()["samples_learned"] == learned < 400
        assert np.array_equal(before.goodness, after.goodness)
        client.control("resume")
        until(lambda: client.status()["samples_learned"] == 400)
        assert math.isnan(client.status()["prequential"])
