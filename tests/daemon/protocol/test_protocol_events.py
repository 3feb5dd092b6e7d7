"""A client made from docs/protocol.md alone listens to the real daemon."""

from __future__ import annotations

import time
import uuid

import pytest
import zmq
from daemons import until
from plain_client import EVENTS, PATIENCE_S, QUERIES, Line, command, unpack
from test_protocol_document import fields_of


@pytest.fixture
def subscriber(daemon):
    with Line(daemon, EVENTS, zmq.SUB) as line:
        yield line


def listen(line, seconds=PATIENCE_S):
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
    until(lambda: replay(subscriber, topic, 0)[0])
    event = replay(subscriber, topic, 0)[0][-1]
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
    # Checkpoints are saved when ordered and not in between, as a phase may begin.
    for _ in range(4):
        command(daemon, "checkpoint")
    everything, end = replay(subscriber, "checkpoint", 0)
    assert [event["number"] for event in everything] == list(range(1, end["number"] + 1))
    assert end.keys() == {"v", "type"} | fields_of("### Replay")
    after = end["number"] - 3
    assert [event["number"] for event in replay(subscriber, "checkpoint", after)[0]] == [
        after + 1,
        after + 2,
        after + 3,
    ]
    assert replay(subscriber, "checkpoint", end["number"])[0] == []


@pytest.mark.parametrize(
    "subscription", ["replay/phase", "replay/phase/x/1", "replay/nothing/0/1", "replay/phase/0/1/2"]
)
def test_a_subscription_of_another_form_brings_nothing(daemon, subscriber, subscription):
    subscriber.socket.subscribe(subscription)
    # Subscriptions are taken in order: what came for the first one would come before the end of the second.
    assert replay(subscriber, "checkpoint", 10**9)[0] == []


def test_a_listener_that_joins_by_replay_sees_every_event_once(daemon, subscriber, feeder, digits):
    feeder.keep(*digits)
    subscriber.socket.subscribe("prediction")
    subscription = order_replay(subscriber, "prediction", 0)
    numbers, replaying, silence = [], True, False
    while feeder.held or replaying or not silence:
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
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
