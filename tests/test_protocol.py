"""A client made from docs/protocol.md alone feeds, queries, listens to and controls the real daemon."""

from __future__ import annotations

import math
import re
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import zmq
from daemons import starter
from plain_client import CONTROL, EVENTS, PUSH, QUERIES, SAMPLES, Feeder, Line, command, unpack
from test_protocol_document import DOCUMENT, fields_of

COMMANDS = ("status", "sleep", "wake", "sham", "auto", "hold", "resume", "checkpoints", "checkpoint")
OF_CHECKPOINT = ("rollback", "pin", "unpin")


# --- feeding ---


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """One daemon for every test that leaves it as it found it."""
    server = {"inbox_samples": 600, "message_samples": 256, "inbox_query_rows": 256}
    with starter(tmp_path_factory.mktemp("protocol")) as start:
        yield start(server=server, phases={"wake_steps": 4, "sleep_steps": 2})


@pytest.fixture
def held(daemon):
    """The daemon with learning held."""
    command(daemon, "hold")
    yield daemon
    command(daemon, "resume")


@pytest.fixture
def feeder(daemon):
    """A feeder that was welcomed, and says goodbye."""
    with Feeder(daemon) as made:
        assert made.listen()["type"] == "welcome"
        yield made
        made.send("bye", **made.who)
        made.socket.close(linger=1000)


def learned(daemon):
    return command(daemon, "status")["samples_learned"]


def test_a_welcome_says_what_the_daemon_takes(daemon):
    with Feeder(daemon) as feeder:
        welcome = feeder.listen()
        assert (welcome["shape"], welcome["labels"]) == ([8, 8], 10)
        assert (welcome["message_samples"], welcome["message_bytes"]) == (256, 16 * 2**20)
        assert (welcome["next"], welcome["expect"]) == (0, 0)


def test_samples_fed_under_credit_are_acknowledged_to_the_last(daemon, feeder, digits):
    before = learned(daemon)
    feeder.keep(*digits)
    assert len(digits[1]) > feeder.marks["credit_samples"]
    feeder.flush()
    assert feeder.marks["next"] == feeder.marks["expect"] == len(digits[1])
    assert learned(daemon) - before == len(digits[1])


def test_a_gap_is_answered_once_with_resend_from_the_expected_number(daemon, feeder, digits):
    images, labels = digits
    before = learned(daemon)
    feeder.send_samples(0, images[:10], labels[:10])
    for first in (20, 30, 40):
        feeder.send_samples(first, images[:10], labels[:10])
    while (message := feeder.listen())["type"] == "ack":
        pass
    assert (message["type"], message["reason"], message["expect"]) == ("resend", "gap", 10)
    feeder.send_samples(10, images[:40], labels[:40])
    while (message := feeder.listen())["next"] < 50:
        assert message["type"] == "ack"
    assert learned(daemon) - before == 50


def test_a_duplicate_is_acknowledged_again_and_not_learned_again(daemon, feeder, digits):
    images, labels = digits
    feeder.send_samples(0, images[:10], labels[:10])
    assert feeder.listen()["next"] == 10
    before = learned(daemon)
    feeder.send_samples(0, images[:10], labels[:10])
    assert feeder.listen()["next"] == 10
    assert learned(daemon) == before


def test_of_a_message_that_overlaps_only_what_is_new_is_learned(daemon, feeder, digits):
    images, labels = digits
    before = learned(daemon)
    feeder.send_samples(0, images[:10], labels[:10])
    feeder.send_samples(5, images[5:15], labels[5:15])
    while feeder.listen()["next"] < 15:
        pass
    assert learned(daemon) - before == 15


def test_beyond_the_credit_nothing_is_taken_until_there_is_room(daemon, feeder, digits):
    images, labels = digits
    command(daemon, "hold")
    credit = feeder.marks["credit_samples"]
    feeder.keep(images[:credit], labels[:credit])
    feeder.send_what_credit_allows()
    feeder.send_samples(credit, images[:50], labels[:50])
    refused = feeder.listen()
    assert (refused["type"], refused["reason"], refused["expect"]) == ("resend", "no_credit", credit)
    command(daemon, "resume")
    feeder.flush()
    feeder.keep(images[:50], labels[:50])
    feeder.flush()
    assert feeder.marks["next"] == credit + 50


def test_refused_samples_are_passed_over_and_those_behind_them_are_learned(daemon, feeder, digits):
    images, labels = digits
    before = learned(daemon)
    feeder.keep(images[:150], np.concatenate([labels[:50], labels[50:100] + 90, labels[100:150]]))
    feeder.flush()
    (error,) = feeder.errors
    assert (error["code"], error["field"], error["first"], error["count"]) == ("bad_label", "labels", 50, 50)
    assert learned(daemon) - before == 100


def test_content_is_judged_only_when_its_turn_has_come(held, feeder, digits):
    images, labels = digits
    targets = labels[:450].astype(np.int64)
    targets[350:400] = 99
    feeder.keep(images[:450], targets)
    feeder.marks["credit_samples"] = 450  # More than was granted: what begins at 300 is not taken, nor what follows.
    feeder.send_what_credit_allows()
    assert feeder.listen()["reason"] == "no_credit"
    assert not feeder.errors
    command(held, "resume")
    feeder.flush()
    (error,) = feeder.errors
    assert (error["code"], error["first"]) == ("bad_label", 350)
    assert feeder.marks["next"] == 450


def test_a_number_beyond_what_the_daemon_remembers_is_taken_at_its_word(daemon):
    with Feeder(daemon) as feeder:
        feeder.listen()
        feeder.send("hello", **feeder.who, first=500)
        assert feeder.listen()["expect"] == 500


def test_who_has_not_said_hello_is_an_unknown_feeder(daemon, digits):
    with Line(daemon, SAMPLES) as line:
        tensors = {"inputs": digits[0][:1], "labels": digits[1][:1]}
        line.send("samples", tensors, feeder="nobody", epoch=1, first=3, count=1)
        answer = line.receive()
        assert (answer["code"], answer["field"], answer["first"]) == ("unknown_feeder", "feeder", 3)


def test_the_last_connection_that_said_hello_is_the_feeders(daemon, digits):
    images, labels = digits
    with Feeder(daemon, "mover") as old, Feeder(daemon, "mover") as new:
        assert {old.listen()["type"], new.listen()["type"]} == {"welcome"}
        new.hello()
        assert new.listen()["type"] == "welcome"
        old.send_samples(0, images[:5], labels[:5])
        assert old.receive()["code"] == "unknown_feeder"
        new.send_samples(0, images[:5], labels[:5])
        assert new.listen()["next"] == 5


def test_a_feeder_that_says_bye_gives_its_share_back(daemon, feeder):
    share = feeder.marks["credit_samples"]
    with Feeder(daemon) as other:
        assert other.listen()["credit_samples"] < share
        other.send("bye", **other.who)
        give_up = time.monotonic() + 10
        while feeder.marks["credit_samples"] != share:
            assert time.monotonic() < give_up
            feeder.hello()
            feeder.listen()


def test_pushed_samples_need_only_a_count(daemon, digits):
    before = learned(daemon)
    with Line(daemon, PUSH, zmq.PUSH) as line:
        line.send("samples", {"inputs": digits[0][:20], "labels": digits[1][:20]}, count=20)
        give_up = time.monotonic() + 10
        while learned(daemon) - before < 20 and time.monotonic() < give_up:
            time.sleep(0.02)
    assert learned(daemon) - before == 20


def test_a_restart_under_a_feeder_learns_each_sample_once_and_shutdown_is_answered(start_daemon, digits):
    daemon = start_daemon(server={"inbox_samples": 300})
    with Feeder(daemon, "steady", message=20) as feeder:
        for _ in range(3):
            feeder.keep(*digits)
        while feeder.marks["next"] < 1_000:
            feeder.send_what_credit_allows()
            feeder.listen()
        reply = command(daemon, "shutdown")
        assert reply == {"v": 1, "type": "reply", "id": 1}
        restarted: list = []
        config = daemon.config

        def restart():
            daemon.process.wait(30)
            again = start_daemon(
                port=config.server.port, directory=config.state.directory, server={"inbox_samples": 300}
            )
            restarted.append(again)

        thread = threading.Thread(target=restart)
        thread.start()
        feeder.flush(60)
        thread.join()
        assert daemon.process.returncode == 0
        assert learned(restarted[0]) == 3 * len(digits[1]) == feeder.marks["next"]


# --- queries ---


def test_the_rows_of_a_query_are_answered_together(daemon, feeder, digits):
    feeder.keep(*digits)
    feeder.flush()
    with Line(daemon, QUERIES) as line:
        answer = line.ask("query", {"inputs": digits[0][:200]})
    tensors = answer["tensors"]
    assert answer.keys() == fields_of("`answer` holds the predictions") | {"v", "type", "tensors"}
    assert {name: (t.dtype.name, t.shape) for name, t in tensors.items()} == {
        "labels": ("int64", (200,)),
        "probabilities": ("float32", (200, 10)),
        "goodness": ("float32", (200, 2, 10)),
    }
    np.testing.assert_allclose(tensors["probabilities"].sum(1), 1, rtol=1e-5)
    assert (tensors["labels"] == tensors["goodness"].sum(1).argmax(1)).all()
    assert answer["phase"] in ("wake", "sleep")
    assert answer["version"] > 0


def test_a_field_that_is_unknown_is_ignored(daemon, digits):
    with Line(daemon, QUERIES) as line:
        assert line.ask("query", {"inputs": digits[0][:1]}, colour="blue", more=[1, {"a": None}])["type"] == "answer"


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_every_input_dtype_is_read(held, digits, dtype):
    images = digits[0][:5] // 255 * 255  # Zeros and ones, alike in every dtype.
    inputs = images if dtype == "uint8" else (images / 255).astype(dtype)
    with Line(held, QUERIES) as line:
        expected = line.ask("query", {"inputs": images})["tensors"]["goodness"]
        np.testing.assert_allclose(line.ask("query", {"inputs": inputs})["tensors"]["goodness"], expected, rtol=1e-4)


def test_a_deadline_of_0_is_always_too_late(daemon, digits):
    with Line(daemon, QUERIES) as line:
        answer = line.ask("query", {"inputs": digits[0][:1]}, deadline_ms=0)
    assert (answer["type"], answer["code"], answer["field"]) == ("error", "deadline", "deadline_ms")


@pytest.mark.parametrize("deadline", [None, 60_000, 1e4])
def test_a_deadline_that_is_far_or_absent_is_met(daemon, digits, deadline):
    with Line(daemon, QUERIES) as line:
        assert line.ask("query", {"inputs": digits[0][:1]}, deadline_ms=deadline)["type"] == "answer"


def test_too_many_queries_at_once_are_busy_and_answered_when_sent_again(daemon, digits):
    with Line(daemon, QUERIES) as line:
        waiting = set(range(100))
        busy = 0
        for number in waiting:
            line.send("query", {"inputs": digits[0][:200]}, id=number)
        while waiting and (answer := line.receive()) is not None:
            if answer["type"] == "answer":
                waiting.remove(answer["id"])
            else:
                assert answer["code"] == "busy"
                busy += 1
                time.sleep(0.01)
                line.send("query", {"inputs": digits[0][:200]}, id=answer["id"])
        assert not waiting
        assert busy


# --- events ---


@pytest.fixture
def subscriber(daemon):
    with Line(daemon, EVENTS, zmq.SUB) as line:
        yield line


def listen(line, seconds=5.0):
    """Return the first frame of the next message, and its header; Nones after silence."""
    if not line.socket.poll(seconds * 1e3):
        return None, None
    topic, *frames = line.socket.recv_multipart()
    return topic.decode(), unpack(frames)


def order_replay(line, topic, after):
    subscription = f"replay/{topic}/{after}/{uuid.uuid4()}"
    line.socket.subscribe(subscription)
    return subscription


def replay(line, topic, after):
    """Order a replay and return its events and the number that ends it."""
    subscription, events = order_replay(line, topic, after), []
    while True:
        first, message = listen(line)
        assert first == subscription
        if message["type"] == "replayed":
            line.socket.unsubscribe(subscription)
            return events, message
        events.append(message)


def test_events_are_numbered_without_gaps(daemon, subscriber, feeder, digits):
    subscribe(subscriber, "prediction")
    feeder.keep(*digits)
    feeder.flush()
    numbers = [listen(subscriber)[1]["number"] for _ in range(30)]
    assert numbers == list(range(numbers[0], numbers[0] + 30))


def subscribe(line, topic):
    """Subscribe, and return when the daemon knows: it takes subscriptions in the order in which they were made."""
    line.socket.subscribe(topic)
    replay(line, "checkpoint", 10**9)


@pytest.mark.parametrize("topic", ["phase", "score", "prediction", "checkpoint", "rollback"])
def test_an_event_has_the_fields_that_the_document_lists(daemon, subscriber, feeder, digits, topic):
    feeder.keep(digits[0][:200], digits[1][:200])
    feeder.flush()
    command(daemon, "rollback", checkpoint=command(daemon, "checkpoint")["checkpoint"])
    give_up = time.monotonic() + 10
    while not (events := replay(subscriber, topic, 0)[0]):
        assert time.monotonic() < give_up
    event = events[-1]
    assert event.keys() == {"v", "type"} | fields_of("## Events") | fields_of(f"### `{topic}`")
    assert (event["type"], event["topic"]) == ("event", topic)
    assert abs(event["time"] - time.time()) < 60


def test_a_prediction_event_tells_labels_predictions_and_answers(daemon, subscriber, digits):
    subscribe(subscriber, "prediction")
    with Line(daemon, QUERIES) as line:
        answer = line.ask("query", {"inputs": digits[0][:7]})
    first, event = listen(subscriber)
    assert first == "prediction"
    assert event["answered"] == answer["tensors"]["labels"].tolist()
    assert event["labels"] == event["predicted"] == []


def test_a_replay_brings_the_kept_events_above_a_number_and_then_says_so(daemon, subscriber):
    everything, end = replay(subscriber, "phase", 0)
    assert [event["number"] for event in everything] == list(range(1, end["number"] + 1))
    assert end.keys() == {"v", "type"} | fields_of("### Replay")
    after = end["number"] - 3
    assert [event["number"] for event in replay(subscriber, "phase", after)[0]] == [after + 1, after + 2, after + 3]
    assert replay(subscriber, "phase", end["number"])[0] == []


@pytest.mark.parametrize(
    "subscription", ["replay/phase", "replay/phase/x/1", "replay/nothing/0/1", "replay/phase/0/1/2"]
)
def test_a_subscription_of_another_form_brings_nothing(daemon, subscriber, subscription):
    subscriber.socket.subscribe(subscription)
    assert listen(subscriber, 0.2) == (None, None)


def test_a_listener_that_joins_by_replay_sees_every_event_once(daemon, subscriber, feeder, digits):
    feeder.keep(*digits)
    subscriber.socket.subscribe("prediction")
    subscription = order_replay(subscriber, "prediction", 0)
    numbers, replaying, silence = [], True, False
    while feeder.held or not silence:
        feeder.send_what_credit_allows()
        silence = not zmq.select([feeder.socket, subscriber.socket], [], [], 0.3)[0]
        while feeder.socket.poll(0):
            feeder.listen()
        while subscriber.socket.poll(0):
            first, message = listen(subscriber)
            if message["type"] == "replayed":
                replaying = False
            elif first == subscription or not replaying:
                numbers.append(message["number"])
    assert not replaying
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


# --- control ---


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_answered_with_the_status_after_it(daemon, name):
    expected = fields_of("`reply` to every other command") | {"v", "type"}
    if name.startswith("checkpoint"):
        expected |= fields_of(f"`reply` to `{name}`")
    assert command(daemon, name).keys() == expected


@pytest.mark.parametrize("name", OF_CHECKPOINT)
def test_every_command_about_a_checkpoint_is_answered_with_the_status_after_it(daemon, name):
    saved = command(daemon, "checkpoint", checkpoint=f"for-{name}")["checkpoint"]
    expected = fields_of("`reply` to every other command") | {"v", "type"}
    expected |= fields_of("`reply` to `rollback`" if name == "rollback" else "`reply` to `pin` and `unpin`")
    assert command(daemon, name, checkpoint=saved).keys() == expected


@pytest.mark.parametrize("name", OF_CHECKPOINT)
@pytest.mark.parametrize("checkpoint", [None, "", 7, "x" * 129])
def test_a_command_about_a_checkpoint_wants_its_name(daemon, name, checkpoint):
    refused = command(daemon, name, checkpoint=checkpoint)
    assert (refused["code"], refused["field"]) == ("bad_field", "checkpoint")


def test_the_listing_has_the_fields_of_the_document_newest_first(daemon):
    made = [command(daemon, "checkpoint")["checkpoint"], command(daemon, "checkpoint", checkpoint="b")["checkpoint"]]
    listed = command(daemon, "checkpoints")["checkpoints"]
    assert [one["name"] for one in listed[:2]] == made[::-1]
    assert all(one.keys() == fields_of("each of them a map with") for one in listed)


def test_the_document_lists_the_commands(daemon):
    table = DOCUMENT.split("| command | what it does |", 1)[1].split("\n\n", 1)[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [*COMMANDS, *OF_CHECKPOINT, "shutdown"]
    assert all(name in command(daemon, "dance")["message"] for name in (*COMMANDS, *OF_CHECKPOINT, "shutdown"))


def test_sleep_wake_and_auto_say_who_decides_on_the_phase(daemon):
    names = ["sleep", "wake", "sham", "auto"]
    assert [command(daemon, name)["override"] for name in names] == names


def test_hold_stops_learning_until_resume_while_queries_are_answered(daemon, feeder, digits):
    assert command(daemon, "hold")["holding"]
    feeder.keep(digits[0][:50], digits[1][:50])
    feeder.send_what_credit_allows()
    with Line(daemon, QUERIES) as line:
        assert line.ask("query", {"inputs": digits[0][:1]})["type"] == "answer"
    give_up = time.monotonic() + 10
    while command(daemon, "status")["samples_waiting"] < 50:
        assert time.monotonic() < give_up
    assert command(daemon, "status")["samples_waiting"] == 50
    assert not command(daemon, "resume")["holding"]
    feeder.flush()


def test_a_checkpoint_is_on_disk_when_its_reply_comes(daemon):
    name = command(daemon, "checkpoint")["checkpoint"]
    assert (Path(daemon.config.state.directory) / name / "manifest.json").is_file()


def test_commands_are_answered_in_the_order_in_which_they_came(daemon):
    with Line(daemon, CONTROL) as line:
        for number, name in enumerate(COMMANDS):
            line.send("command", id=number, name=name)
        assert [line.receive()["id"] for _ in COMMANDS] == list(range(len(COMMANDS)))
    status = command(daemon, "status")
    assert (status["override"], status["holding"], status["stopping"]) == ("auto", False, False)
    assert status["prequential"] > 0 or math.isnan(status["prequential"])
