"""A client made from docs/protocol.md alone feeds the real daemon."""

from __future__ import annotations

import threading

import numpy as np
import zmq
from daemons import PATIENCE_S, until
from plain_client import PUSH, SAMPLES, SILENCE_S, Feeder, Line, command


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

        def has_it_back():
            feeder.hello()
            feeder.listen()
            return feeder.marks["credit_samples"] == share

        until(has_it_back)


def test_pushed_samples_need_only_a_count(daemon, digits):
    before = learned(daemon)
    with Line(daemon, PUSH, zmq.PUSH) as line:
        line.send("samples", {"inputs": digits[0][:20], "labels": digits[1][:20]}, count=20)
        until(lambda: learned(daemon) - before >= 20)
    assert learned(daemon) - before == 20


def test_a_restart_under_a_feeder_learns_each_sample_once_and_shutdown_is_answered(start_daemon, digits):
    daemon = start_daemon(server={"inbox_samples": 300})
    with Feeder(daemon, "steady", message=20) as feeder:
        for _ in range(3):
            feeder.keep(*digits)
        while feeder.marks["next"] < 1_000:
            feeder.send_what_credit_allows()
            feeder.listen(SILENCE_S)
        reply = command(daemon, "shutdown")
        assert reply == {"v": 1, "type": "reply", "id": 1}
        restarted: list = []
        config = daemon.config

        def restart():
            daemon.process.wait(PATIENCE_S)
            again = start_daemon(
                port=config.server.port, directory=config.state.directory, server={"inbox_samples": 300}
            )
            restarted.append(again)

        thread = threading.Thread(target=restart)
        thread.start()
        feeder.flush()
        thread.join()
        assert daemon.process.returncode == 0
        assert learned(restarted[0]) == 3 * len(digits[1]) == feeder.marks["next"]
