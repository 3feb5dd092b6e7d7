from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch

from ffstream import wire
from ffstream.daemon.events import TOPICS, EventLog, frames_of, prediction_fields, score_fields
from ffstream.ff.lesson import Phase
from ffstream.ff.network import Scores
from ffstream.stream.backend import Backend
from ffstream.stream.inbox import QueryBatch
from ffstream.stream.outbox import Answer, Report, Swept
from ffstream.stream.phases import Override
from ffstream.stream.step import SignScores, Step
from ffstream.wire import Frames, Message


def log_of(count: int, keep: int = 5, topic: str = "phase") -> EventLog:
    log = EventLog(keep)
    for _ in range(count):
        log.add(topic, {"version": 0})
    return log


def read(frames: Frames) -> tuple[bytes, Message]:
    topic, *message = frames
    return bytes(topic), wire.decode(message, 10_000)


def replayed(log: EventLog, subscription: bytes) -> list[tuple[str, int]]:
    return [(message.kind, message.integer("number")) for _, message in map(read, log.replay(subscription))]


def test_an_event_goes_out_under_its_topic_with_what_it_tells() -> None:
    topic, message = read(frames_of(EventLog(5).add("checkpoint", {"name": "x"}), b"checkpoint"))
    assert (topic, message.kind, message.fields["topic"], message.fields["name"]) == (
        b"checkpoint",
        "event",
        "checkpoint",
        "x",
    )


def test_an_image_is_a_tensor_of_the_message_and_other_arrays_are_in_the_header() -> None:
    image = np.random.default_rng(0).random((3, 32, 32), np.float32)
    _, *frames = frames_of(EventLog(5).add("dream", {"image": image, "labels": np.arange(2)}), b"dream")
    message = wire.decode(frames, 100_000)
    assert np.array_equal(message.tensors["image"], image)
    assert message.fields["labels"] == [0, 1]
    assert "image" not in message.fields


def test_an_event_carries_its_time() -> None:
    _, message = read(frames_of(EventLog(5).add("phase", {}), b"phase"))
    assert message.number("time")


def test_the_numbers_of_a_topic_begin_at_one_and_have_no_gaps() -> None:
    log = EventLog(2)
    numbers = [log.add("phase", {})["number"] for _ in range(9)]
    assert numbers == list(range(1, 10))


def test_each_topic_is_numbered_by_itself() -> None:
    log = EventLog(5)
    numbers = [log.add(topic, {})["number"] for topic in TOPICS * 2]
    assert numbers == [1] * len(TOPICS) + [2] * len(TOPICS)


@pytest.mark.parametrize(("after", "numbers"), [(0, [1, 2, 3]), (1, [2, 3]), (3, []), (99, [])])
def test_a_replay_gives_the_events_above_a_number_and_then_ends(after: int, numbers: list[int]) -> None:
    subscription = f"replay/phase/{after}/me".encode()
    assert replayed(log_of(3), subscription) == [*[("event", number) for number in numbers], ("replayed", 3)]


def test_a_replay_of_a_topic_without_events_ends_at_zero() -> None:
    assert replayed(EventLog(5), b"replay/score/0/me") == [("replayed", 0)]


def test_only_the_last_events_are_kept_for_replay() -> None:
    numbers = [number for kind, number in replayed(log_of(20, keep=3), b"replay/phase/0/me") if kind == "event"]
    assert numbers == [18, 19, 20]


def test_a_busy_topic_does_not_push_out_another() -> None:
    log = log_of(1, keep=3, topic="phase")
    for _ in range(20):
        log.add("score", {})
    assert replayed(log, b"replay/phase/0/me") == [("event", 1), ("replayed", 1)]


def test_a_replay_goes_out_under_the_topic_that_was_subscribed() -> None:
    topics = {read(frames)[0] for frames in log_of(3).replay(b"replay/phase/0/me")}
    assert topics == {b"replay/phase/0/me"}


def test_a_replayed_event_is_the_event_as_it_was_published() -> None:
    log = EventLog(5)
    published = log.add("phase", {"version": 7})
    assert log.replay(b"replay/phase/0/me")[0][1:] == frames_of(published, b"phase")[1:]


@pytest.mark.parametrize(
    "subscription",
    [
        b"",
        b"replay/",
        b"replay/phase",
        b"replay/phase/0",
        b"replay/phase/0/me/more",
        b"replay/dreams/0/me",
        b"replay//0/me",
        b"replay/phase//me",
        b"replay/phase/-1/me",
        b"replay/phase/1.5/me",
        b"replay/phase/ 1/me",
        b"replay/phase/1_0/me",
        "replay/phase/²/me".encode(),
        "replay/phase/٣/me".encode(),
        b"replay/\xff\xfe/0/me",
        b"replay/phase/\xff/me",
        b"replay/phase/" + b"9" * 5_000 + b"/me",
        b"phase/0/me",
    ],
)
def test_a_subscription_of_another_form_gets_nothing(subscription: bytes) -> None:
    assert log_of(3).replay(subscription) == []


def swept() -> Swept:
    step = Step(
        7,
        Phase.WAKE,
        2,
        0,
        0,
        Scores(torch.zeros(3, 4), torch.zeros(3, 4), torch.zeros(1, 1, 4), *torch.zeros(2, 2, 1, 1)),
        np.array([1, 2]),
        np.array([1, 3]),
    )
    answer = Answer(
        QueryBatch(None, np.zeros((1, 2)), 0.0),
        np.array([3]),
        np.zeros((1, 4), np.float32),
        np.zeros((1, 1, 4), np.float32),
    )
    return Swept(step, 0.01, {}, [answer, answer], [])


def test_a_prediction_tells_labels_as_served() -> None:
    _, message = read(frames_of(EventLog(5).add("prediction", prediction_fields(swept())), b"prediction"))
    told = {name: message.fields[name] for name in ("version", "phase", "labels", "predicted", "answered")}
    assert told == {"version": 7, "phase": "wake", "labels": [1, 2], "predicted": [1, 3], "answered": [3, 3]}


def report() -> Report:
    signs = {"real": SignScores([2.0], [0.5])}
    backend = Backend("cpu", "float32", 1, "off", "", ["linear"])
    return Report(7, backend, Phase.SLEEP, Override.SHAM, True, 0.75, 2.5, 40, 0.5, float("nan"), signs, [1.5], [0])


def test_scores_are_told_by_sign_and_layer() -> None:
    fields = score_fields(report(), deque(), deque())
    assert (fields["goodness"], fields["probability_of_real"]) == ({"real": [2.0]}, {"real": [0.5]})


def test_scores_tell_who_decides_and_that_learning_is_held() -> None:
    fields = score_fields(report(), deque(), deque())
    assert (fields["override"], fields["holding"]) == ("sham", True)


def test_durations_are_told_in_milliseconds() -> None:
    fields = score_fields(report(), deque([0.5] * 9), deque())
    assert (fields["sweep_ms"], fields["query_ms"]) == (pytest.approx([500, 500]), [])


def test_scores_travel_though_there_is_no_accuracy_yet() -> None:
    _, message = read(frames_of(EventLog(5).add("score", score_fields(report(), deque(), deque())), b"score"))
    assert np.isnan(message.fields["prequential_window"])
