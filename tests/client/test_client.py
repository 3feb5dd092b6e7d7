"""The client's own promises."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from daemons import PATIENCE_S, until

from ffstream import Client
from ffstream.errors import Refused, Unreachable

NOBODY = "127.0.0.1:9"


def test_it_says_that_nobody_is_there():
    with pytest.raises(Unreachable, match="ffstream serve"), Client(NOBODY, timeout_s=0.3) as client:
        client.status()


def test_feeding_nobody_says_how_many_samples_are_not_acknowledged():
    client = Client(NOBODY, timeout_s=0.3)
    with pytest.raises(Unreachable, match="0 samples are not"):
        client.feed(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    client.close()


def test_pushing_to_nobody_ends_when_no_more_can_be_kept():
    client = Client(NOBODY, timeout_s=0.1)
    with pytest.raises(Unreachable, match="nobody takes"):
        _push_many(client, 5_000)
    client.close()


@pytest.mark.parametrize("address", ["5700", "localhost:", ":5700", "::1", "http://localhost:5700", ""])
def test_an_address_that_cannot_be_read_is_refused(address):
    with pytest.raises(ValueError, match="HOST:PORT"):
        Client(address)


def test_an_address_may_be_as_zeromq_writes_it(daemon):
    with Client(f"tcp://{daemon.address}") as client:
        assert client.status()["version"] >= 0


def test_a_host_alone_is_asked_at_the_default_port():
    with pytest.raises(Unreachable, match=r"192\.0\.2\.1:5700"), Client("192.0.2.1", timeout_s=0.1) as client:
        client.status()


def test_it_can_be_closed_twice_and_within_its_block(daemon, digits):
    with Client(daemon.address, ack="learned") as client:
        client.feed(digits[0][:10], digits[1][:10])
        client.flush()
        client.close()
        client.close()
    assert client.acknowledged == 10


@pytest.mark.parametrize("verb", ["feed", "push", "predict", "status", "events", "flush"])
def test_a_closed_client_says_that_it_is_closed(daemon, digits, verb):
    images, labels = digits
    client = Client(daemon.address)
    client.feed(images[:1], labels[:1])
    client.push(images[:1], labels[:1])
    arguments = {"feed": (images, labels), "push": (images, labels), "predict": (images,), "events": ("score",)}
    client.close()
    with pytest.raises(ValueError, match="closed"):
        getattr(client, verb)(*arguments.get(verb, ()))


def test_a_closed_subscription_has_no_more_events(client):
    with client.events("score", after=0) as events:
        pass
    assert list(events) == []


def test_labels_must_be_as_many_as_samples():
    with Client(NOBODY) as client, pytest.raises(ValueError, match="one label per sample"):
        client.feed(np.zeros((3, 8, 8), np.uint8), [0, 1])


def test_labels_must_be_integers():
    with Client(NOBODY) as client, pytest.raises(ValueError, match="integer labels"):
        client.feed(np.zeros((1, 8, 8), np.uint8), [0.5])


def test_a_refused_batch_names_the_field_and_what_follows_is_learned(client, digits):
    images, labels = digits
    with pytest.raises(Refused, match="expected 0 to 9, got 10 in row 2") as refused:
        _feed_all(client, images[:3], [0, 1, 10])
    assert refused.value.field == "labels"
    client.feed(images[:100], labels[:100])
    client.flush()
    assert client.acknowledged == 100
    assert client.status()["samples_learned"] == 100


def test_a_refused_batch_among_others_in_flight_loses_none_of_them(client, digits):
    images, labels = digits
    refused = 0
    for start in range(0, 640, 64):
        targets = labels[start : start + 64].copy()
        if start == 192:
            targets[0] = -1
        try:
            client.feed(images[start : start + 64], targets)
        except Refused:
            refused += 1
    try:
        client.flush()
    except Refused:
        refused += 1
        client.flush()
    assert refused == 1
    assert client.status()["samples_learned"] == 576


def test_a_refused_batch_does_not_stop_the_feeder_when_the_daemon_is_restarted(start_daemon, digits):
    images, labels = digits
    first = start_daemon()
    with Client(first.address, ack="learned", timeout_s=PATIENCE_S) as client:
        client.control("hold")
        client.feed(images[:64], labels[:64])
        with contextlib.suppress(Refused):
            client.feed(images[64:128], labels[64:128] + 10)
        with contextlib.suppress(Refused):
            client.feed(images[128:192], labels[128:192])
        assert first.stop() == 0
        start_daemon(port=first.config.server.port, directory=first.config.state.directory)
        client.control("resume")
        with contextlib.suppress(Refused):
            client.flush()
        client.flush()
        assert client.acknowledged == 128
        assert client.status()["samples_learned"] == 128


def test_a_batch_larger_than_the_inbox_is_split_and_learned(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon(server={"inbox_samples": 64, "message_samples": 1024})
    with Client(daemon.address, ack="learned") as client:
        client.feed(images[:1500], labels[:1500])
        client.flush()
        assert client.acknowledged == 1500
        assert client.status()["samples_learned"] == 1500


def test_a_holding_client_sends_so_many_samples_at_once(daemon, digits):
    images, labels = digits
    with Client(daemon.address, ack="learned", hold=8) as client:
        for k in range(7):
            client.feed(images[k : k + 1], labels[k : k + 1])
        assert daemon.metrics()["ffstream_feeders"] == 0
        client.feed(images[7:8], labels[7:8])
        client.feed(images[8:9], labels[8:9])
        client.flush()
        assert client.acknowledged == 9
    until(lambda: daemon.metrics()["ffstream_samples_learned_total"] == 9)


def test_a_holding_client_sends_inputs_of_another_type_apart(daemon, digits):
    images, labels = digits
    with Client(daemon.address, ack="learned", hold=8) as client:
        client.feed(images[:2], labels[:2])
        client.feed(images[2:3].astype(np.float32), labels[2:3])
        client.flush()
        assert client.acknowledged == 3


def test_what_is_held_is_not_lost_to_a_daemon_that_is_not_there(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon()
    with Client(daemon.address, hold=4, timeout_s=0.5) as client:
        client.feed(images[:2], labels[:2])
        daemon.stop()
        with pytest.raises(Unreachable):
            client.flush()
        start_daemon(port=daemon.config.server.port)
        until(lambda: _flushed(client))
        assert client.acknowledged == 2


def test_floats_and_bytes_of_the_same_image_get_the_same_answer(client, digits):
    image = digits[0][:1]
    one, two = client.predict(image), client.predict(image / 255)
    np.testing.assert_allclose(one.goodness, two.goodness, rtol=1e-5)


def test_a_feeder_that_returns_with_its_epoch_is_not_learned_twice(daemon, digits):
    images, labels = digits
    for _ in range(2):
        with Client(daemon.address, feeder="line", epoch=1, ack="learned") as client:
            client.feed(images[:100], labels[:100])
            client.flush()
    with Client(daemon.address, ack="learned") as client:
        assert client.status()["samples_learned"] == 100


def test_several_feeders_share_the_inbox(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon(server={"inbox_samples": 256})
    clients = [Client(daemon.address, ack="learned") for _ in range(3)]
    for start in range(0, 960, 64):
        for client in clients:
            client.feed(images[start : start + 64], labels[start : start + 64])
    for client in clients:
        client.flush()
    assert clients[0].status()["samples_learned"] == 3 * 960
    for client in clients:
        client.close()


def _feed_all(client, images, labels):
    client.feed(images, labels)
    client.flush()


def _flushed(client):
    with contextlib.suppress(Unreachable):
        client.flush()
        return True
    return False


def _push_many(client, count):
    for _ in range(count):
        client.push(np.zeros((1, 2), np.uint8), [0])
