"""Learning, answering and reporting through the real sockets."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from daemons import PATIENCE_S, predictions, until

from ffstream import Client
from ffstream.errors import Refused


@pytest.fixture
def fed(client, digits):
    """A client whose daemon has learned 1,200 digits."""
    images, labels = digits
    client.feed(images[:1200], labels[:1200])
    client.flush()
    return client


def test_it_learns_and_predicts(fed, digits):
    images, labels = digits
    answer = fed.predict(images[1200:1400])
    assert answer.probabilities.shape == (200, 10)
    assert answer.goodness.shape == (200, 2, 10)
    np.testing.assert_allclose(answer.probabilities.sum(1), 1, rtol=1e-5)
    assert (answer.labels == answer.probabilities.argmax(1)).all()
    assert (answer.labels == labels[1200:1400]).mean() > 0.6


def test_both_phases_step_and_alternate(daemon, fed):
    status = fed.control("hold")
    assert status["wake_steps"] + status["sleep_steps"] == status["version"]
    assert status["wake_steps"] >= 1200 / 32
    assert status["sleep_steps"] > 0
    with fed.events("phase", after=0, timeout_s=PATIENCE_S) as events:
        changes = [event.fields for event in itertools.islice(events, 10)]
    pressure = changes[0].pop("pressure")
    assert changes[0] == {"version": 4, "phase": "sleep", "previous": "wake", "reason": "due", "debt": 4.0}
    assert 0 <= pressure <= 1
    assert all(a["phase"] == b["previous"] for a, b in itertools.pairwise(changes))


def test_a_quiet_stream_lets_it_sleep_early(client, digits):
    images, labels = digits
    client.feed(images[:10], labels[:10])
    client.flush()
    with client.events("phase", after=0, timeout_s=PATIENCE_S) as events:
        change = next(iter(events)).fields
    assert (change["phase"], change["reason"]) == ("sleep", "quiet")


def test_a_query_never_trains(fed, digits):
    images, _ = digits
    # Without naps nothing but a sample makes a step.
    before = fed.control("wake")["version"]
    fed.predict(images[:100])
    assert fed.status()["version"] == before


def test_the_same_query_at_the_same_version_gets_the_same_answer(fed, digits):
    images, _ = digits
    fed.control("hold")
    one, two = fed.predict(images[:50]), fed.predict(images[:50])
    assert one.version == two.version
    np.testing.assert_array_equal(one.goodness, two.goodness)


def test_a_deadline_that_has_passed_is_refused(client, digits):
    with pytest.raises(Refused) as refused:
        client.predict(digits[0][:1], deadline_ms=0)
    assert refused.value.code == "deadline"


def test_it_answers_while_it_sleeps_and_while_learning_is_held(fed, digits):
    images, _ = digits
    fed.control("sleep")
    assert fed.predict(images[:1]).phase == "sleep"
    fed.control("hold")
    version = fed.status()["version"]
    fed.predict(images[:1])
    assert fed.status()["version"] == version


def test_samples_wait_in_the_inbox_while_it_sleeps(daemon, fed, digits):
    images, labels = digits
    fed.control("sleep")
    with Client(daemon.address, ack="learned") as feeder:
        feeder.feed(images[:100], labels[:100])
        until(lambda: fed.status()["samples_waiting"] == 100)
        version = fed.status()["version"]
        until(lambda: fed.status()["version"] > version + 5)
        assert fed.status()["samples_waiting"] == 100
        fed.control("auto")
        feeder.flush()
    assert fed.status()["samples_learned"] == 1300


def test_wake_deprives_it_of_sleep(fed, digits):
    images, labels = digits
    fed.control("wake")
    before = fed.status()["sleep_steps"]
    fed.feed(images[:600], labels[:600])
    fed.flush()
    assert fed.status()["sleep_steps"] == before


def test_sham_sleep_is_slept_and_no_weight_moves(start_daemon, digits):
    images, labels = digits
    # It owes more sleep than it can sleep before learning is held.
    owed = {"sleep_steps": 10**6, "longest_sleep": 10**6}
    daemon = start_daemon(phases={"wake_steps": 4, "quiet_ms": 5, **owed})
    with Client(daemon.address, ack="learned") as client:
        client.control("sham")
        client.feed(images[:64], labels[:64])
        client.flush()
        client.control("hold")
        first, before = client.control("checkpoint")["checkpoint"], client.status()
        client.control("resume")
        until(lambda: client.status()["sham_steps"] > before["sham_steps"] + 100)
        client.control("hold")
        last, after = client.control("checkpoint")["checkpoint"], client.status()
    assert after["sham_steps"] == after["sleep_steps"] > before["sham_steps"]
    assert after["version"] == before["version"] == after["wake_steps"]
    folder = Path(daemon.config.state.directory)
    assert len({(folder / name / "network.safetensors").read_bytes() for name in (first, last)}) == 1
    until(lambda: daemon.metrics()["ffstream_sham_steps_total"] == after["sham_steps"])
    until(lambda: daemon.metrics()['ffstream_override{override="sham"}'] == 1)


def test_a_quiet_schedule_learns_while_samples_come_and_sleeps_when_they_do_not(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon(phases={"schedule": "quiet", "quiet_ms": 300})
    with Client(daemon.address) as client:
        # All of them wait before the first is learned: however slowly they come, the stream is not quiet in between.
        client.control("hold")
        client.feed(images[:640], labels[:640])
        client.flush()
        client.control("resume")
        with client.events("phase", after=0, timeout_s=PATIENCE_S) as events:
            changes = [event.fields for event in itertools.islice(events, 2)]
        rested = client.status()
    assert (rested["samples_learned"], rested["debt"]) == (640, 0)
    assert rested["sleep_steps"] == rested["wake_steps"]
    assert [(change["reason"], change["debt"]) for change in changes] == [
        ("quiet", rested["wake_steps"]),
        ("rested", 0),
    ]
    assert all(0 <= change["pressure"] <= 1 for change in changes)
    until(lambda: daemon.metrics()["ffstream_sleep_debt_steps"] == 0)


def test_samples_rouse_a_quiet_schedule(start_daemon, digits):
    images, labels = digits
    # It owes more than it can sleep in the time.
    daemon = start_daemon(phases={"schedule": "quiet", "quiet_ms": 5, "sleep_steps": 10**6, "longest_sleep": 10**6})
    with Client(daemon.address, ack="learned") as client:
        client.feed(images[:32], labels[:32])
        client.flush()
        until(lambda: client.status()["phase"] == "sleep")
        client.feed(images[:32], labels[:32])
        client.flush()
        with client.events("phase", after=0, timeout_s=PATIENCE_S) as events:
            reasons = [event.fields["reason"] for event in itertools.islice(events, 3)]
    assert reasons == ["quiet", "roused", "quiet"]


def test_a_together_schedule_steps_both_signs_at_once(start_daemon, digits):
    images, labels = digits
    daemon = start_daemon(phases={"schedule": "together"})
    with Client(daemon.address, ack="learned") as client:
        client.feed(images[:320], labels[:320])
        client.flush()
        status = client.status()
    assert status["together_steps"] == status["version"] > 0
    assert status["wake_steps"] == status["sleep_steps"] == 0


@pytest.mark.parametrize("coding", ["context", "overlay"])
def test_every_label_coding_is_served(start_daemon, digits, coding):
    images, labels = digits
    daemon = start_daemon(network={"shape": [8, 8], "hidden": [64, 64], "coding": coding})
    with Client(daemon.address, ack="learned") as client:
        client.feed(images[:320], labels[:320])
        client.flush()
        assert client.predict(images[:3]).goodness.shape == (3, 2, 10)


def test_pushed_samples_are_learned_without_acknowledgement(client, digits):
    images, labels = digits
    client.push(images[:64], labels[:64])
    until(lambda: client.status()["samples_learned"] == 64)


def test_prequential_accuracy_is_that_of_the_predictions_as_served(fed):
    labels, predicted = predictions(fed, 1200)
    right = sum(a == b for a, b in zip(labels, predicted, strict=True))
    assert math.isclose(fed.status()["prequential"], right / 1200)


def test_events_are_numbered_without_gaps_across_replay_and_live(client, digits):
    images, labels = digits
    client.feed(images[:400], labels[:400])
    client.flush()
    numbers, told = [], 0
    with client.events("prediction", after=0, timeout_s=PATIENCE_S) as events:
        for event in events:
            if not numbers:
                client.feed(images[:400], labels[:400])
                client.flush()
            numbers.append(event.number)
            told += len(event.fields["labels"])
            if told >= 800:
                break
    assert told == 800
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 25


def test_a_checkpoint_on_command_is_on_disk_when_it_is_answered(daemon, fed):
    reply = fed.control("checkpoint")
    assert (daemon.config.state.directory / reply["checkpoint"] / "manifest.json").exists()


def test_metrics_count_what_happened(daemon, fed, digits):
    fed.predict(digits[0][:5])
    version = fed.control("hold")["version"]
    until(lambda: daemon.metrics().get("ffstream_model_version") == version)
    metrics = daemon.metrics()
    assert metrics["ffstream_samples_learned_total"] == 1200
    assert metrics['ffstream_samples_received_total{channel="acknowledged"}'] == 1200
    assert metrics['ffstream_queries_total{outcome="answered"}'] == 1
    assert metrics["ffstream_query_seconds_count"] == 1
    assert metrics['ffstream_sweep_seconds_bucket{le="5e-05"}'] >= 0
    steps = sum(value for name, value in metrics.items() if name.startswith("ffstream_phase_steps_total"))
    assert metrics["ffstream_model_version"] == steps
    for sign in ("real", "negative"):
        for layer in "12":
            assert f'ffstream_goodness{{layer="{layer}",sign="{sign}"}}' in metrics
            assert 0 <= metrics[f'ffstream_probability_of_real{{layer="{layer}",sign="{sign}"}}'] <= 1


def test_shutdown_by_command_exits_0(daemon, client):
    client.control("shutdown")
    assert daemon.process.wait(PATIENCE_S) == 0
