from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffstream.daemon.feeders import ACTIVE_S, Feeder, Feeders, Level, Verdict

NOW = 1_000.0


def room(samples: int = 120, nbytes: int = 1_200, limit: int = 10) -> Feeders:
    return Feeders(samples, nbytes, limit)


def greeted(feeders: Feeders, name: str = "a", epoch: int = 1, first: int = 0, peer: bytes = b"p") -> Feeder:
    return feeders.hello(name, epoch, first, Level.LEARNED, peer, NOW)


def done(feeders: Feeders, name: str, epoch: int, upto: int) -> Feeder | None:
    """Say that samples below a number are on disk, and learned."""
    known = feeders.get(name, epoch)
    if known is not None:
        known.advance(durable=upto)
    return feeders.advance(name, epoch, upto)


def restored() -> Feeders:
    feeders = room()
    feeders.restore({"a": (1, 40, 50)})
    return feeders


def took(feeders: Feeders, feeder: Feeder, first: int, count: int, nbytes: int = 1) -> Verdict:
    """Judge samples, and take them if the verdict says so."""
    verdict = feeders.judge(feeder, first, count, nbytes, NOW)
    if verdict is Verdict.TAKE:
        feeder.take(first + count, nbytes)
    return verdict


def test_a_new_feeder_is_expected_to_begin_at_the_first_number_it_can_send() -> None:
    feeder = greeted(room(), first=30)
    assert (feeder.learned, feeder.expected, feeder.waiting) == (30, 30, 0)


def test_a_feeder_is_unknown_before_it_says_hello() -> None:
    assert room().get("a", 1) is None


def test_a_feeder_is_known_by_name_and_epoch() -> None:
    feeders = room()
    feeder = greeted(feeders)
    assert feeders.get("a", 1) is feeder
    assert feeders.get("a", 2) is None


def test_a_restored_feeder_must_say_hello_first() -> None:
    feeders = restored()
    assert feeders.get("a", 1) is None


def test_a_restored_feeder_goes_on_behind_what_was_learned() -> None:
    feeders = restored()
    assert greeted(feeders, first=20).expected == 50


def test_a_feeder_acknowledged_further_than_is_remembered_goes_on_there() -> None:
    feeders = restored()
    feeder = greeted(feeders, first=80)
    assert (feeder.learned, feeder.durable, feeder.expected) == (80, 80, 80)


def test_another_epoch_begins_anew() -> None:
    feeders = room()
    took(feeders, greeted(feeders), 0, 10)
    assert greeted(feeders, epoch=2).expected == 0


def test_a_new_connection_keeps_what_still_waits() -> None:
    feeders = room()
    took(feeders, greeted(feeders), 0, 10)
    feeder = greeted(feeders, peer=b"other")
    assert (feeder.expected, feeder.waiting, feeder.peer) == (10, 10, b"other")


def test_the_next_number_is_taken() -> None:
    feeders = room()
    feeder = greeted(feeders)
    assert took(feeders, feeder, 0, 10) is Verdict.TAKE
    assert (feeder.expected, feeder.waiting) == (10, 10)


@pytest.mark.parametrize(("first", "count"), [(0, 10), (0, 4), (9, 1)])
def test_samples_that_were_accepted_before_are_duplicates(first: int, count: int) -> None:
    feeders = room()
    feeder = greeted(feeders)
    took(feeders, feeder, 0, 10)
    assert took(feeders, feeder, first, count) is Verdict.DUPLICATE


def test_samples_that_are_partly_new_are_taken() -> None:
    feeders = room()
    feeder = greeted(feeders)
    took(feeders, feeder, 0, 10)
    assert took(feeders, feeder, 5, 10) is Verdict.TAKE
    assert feeder.expected == 15


def test_a_number_passed_over_is_a_gap() -> None:
    feeders = room()
    assert took(feeders, greeted(feeders), 1, 5) is Verdict.GAP


@pytest.mark.parametrize(("count", "verdict"), [(60, Verdict.TAKE), (61, Verdict.NO_CREDIT)])
def test_samples_beyond_the_share_have_no_credit(count: int, verdict: Verdict) -> None:
    feeders = room(samples=120)
    assert took(feeders, greeted(feeders), 0, count) is verdict


@pytest.mark.parametrize(("nbytes", "verdict"), [(500, Verdict.TAKE), (501, Verdict.NO_CREDIT)])
def test_bytes_beyond_the_share_have_no_credit(nbytes: int, verdict: Verdict) -> None:
    feeders = room(nbytes=1_200)
    feeder = greeted(feeders)
    took(feeders, feeder, 0, 1, nbytes=100)
    assert took(feeders, feeder, 1, 1, nbytes=nbytes) is verdict


def test_a_single_message_larger_than_the_share_in_bytes_is_taken() -> None:
    feeders = room(nbytes=1_200)
    assert took(feeders, greeted(feeders), 0, 1, nbytes=5_000) is Verdict.TAKE


def test_learning_gives_credit_back() -> None:
    feeders = room()
    feeder = greeted(feeders)
    took(feeders, feeder, 0, 60, nbytes=600)
    done(feeders, "a", 1, 60)
    assert (feeder.waiting, feeder.in_flight_bytes) == (0, 0)
    assert took(feeders, feeder, 60, 60, nbytes=600) is Verdict.TAKE


def test_the_bytes_of_a_message_are_given_back_once_it_is_learned_whole() -> None:
    feeders = room()
    feeder = greeted(feeders)
    took(feeders, feeder, 0, 10, nbytes=100)
    done(feeders, "a", 1, 9)
    assert (feeder.waiting, feeder.in_flight_bytes) == (1, 100)


def test_what_was_learned_never_goes_back() -> None:
    feeders = room()
    feeder = greeted(feeders)
    took(feeders, feeder, 0, 10)
    done(feeders, "a", 1, 8)
    done(feeders, "a", 1, 3)
    assert feeder.learned == 8


@pytest.mark.parametrize(("name", "epoch"), [("b", 1), ("a", 2)])
def test_learning_of_another_feeder_or_epoch_advances_nobody(name: str, epoch: int) -> None:
    feeders = room()
    feeder = greeted(feeders)
    took(feeders, feeder, 0, 10)
    assert done(feeders, name, epoch, 5) is None
    assert feeder.waiting == 10


def test_refused_samples_are_passed_over_so_that_the_next_are_no_gap() -> None:
    feeders = room()
    feeder = greeted(feeders)
    feeder.skip(10)
    assert feeder.waiting == 0
    assert took(feeders, feeder, 10, 5) is Verdict.TAKE


def test_refused_samples_behind_waiting_ones_do_not_wait_for_ever() -> None:
    feeders = room()
    feeder = greeted(feeders)
    took(feeders, feeder, 0, 10)
    feeder.skip(15)
    assert feeder.learned == 0
    done(feeders, "a", 1, 10)
    assert (feeder.learned, feeder.waiting) == (15, 0)


def test_passing_over_refused_samples_ends_the_refusal() -> None:
    feeders = room()
    feeder = greeted(feeders)
    feeder.refused = Verdict.GAP
    feeder.skip(10)
    assert feeder.refused is None


def test_the_share_is_that_of_every_active_feeder_and_one_more() -> None:
    feeders = room(samples=120, nbytes=1_200)
    shares = [feeders.share(NOW)]
    for name in "ab":
        greeted(feeders, name)
        shares.append(feeders.share(NOW))
    assert shares == [(120, 1_200), (60, 600), (40, 400)]


def test_everyone_may_send_at_least_one_sample() -> None:
    feeders = room(samples=2, nbytes=2)
    for name in "abcd":
        greeted(feeders, name)
    assert feeders.share(NOW) == (1, 1)


def test_a_silent_feeder_gives_its_share_back() -> None:
    feeders = room()
    greeted(feeders)
    assert feeders.active(NOW + ACTIVE_S) == 0


def test_a_silent_feeder_with_samples_waiting_keeps_its_share() -> None:
    feeders = room()
    took(feeders, greeted(feeders), 0, 10)
    assert feeders.active(NOW + 2 * ACTIVE_S) == 1


def test_goodbye_gives_the_share_back_and_keeps_how_far_it_came() -> None:
    feeders = room()
    took(feeders, greeted(feeders), 0, 10)
    done(feeders, "a", 1, 10)
    feeders.goodbye("a", 1)
    assert feeders.active(NOW) == 0
    assert feeders.get("a", 1) is None
    assert greeted(feeders).expected == 10


def test_beyond_the_limit_the_feeder_silent_longest_is_forgotten() -> None:
    feeders = room(limit=2)
    for name in "ab":
        greeted(feeders, name)
    feeders.get("a", 1)
    greeted(feeders, "c")
    assert [feeders.get(name, 1) is None for name in "abc"] == [False, True, False]


def test_a_feeder_refused_for_want_of_credit_is_starved_until_it_is_heard() -> None:
    feeders = room()
    feeder = greeted(feeders)
    feeder.refused = Verdict.NO_CREDIT
    assert feeders.starved() == [feeder]
    took(feeders, feeder, 0, 1)
    assert feeders.starved() == []


def test_a_feeder_that_left_is_not_starved() -> None:
    feeders = room()
    greeted(feeders).refused = Verdict.NO_CREDIT
    feeders.goodbye("a", 1)
    assert feeders.starved() == []


EVENTS = st.tuples(st.sampled_from(["send", "again", "bad", "learn"]), st.integers(0, 4), st.integers(1, 12))


@given(count=st.integers(1, 5), events=st.lists(EVENTS, max_size=150))
@settings(max_examples=200)
def test_feeders_that_keep_to_their_credit_never_overflow_the_inbox_and_lose_no_number(
    count: int, events: list[tuple[str, int, int]]
) -> None:
    feeders = room(samples=40, nbytes=4_000)
    known = [greeted(feeders, str(i)) for i in range(count)]
    accepted: list[list[int]] = [[] for _ in known]
    refused: list[set[int]] = [set() for _ in known]
    for kind, which, size in events:
        i = which % count
        feeder, before = known[i], known[i].expected
        size = min(size, feeder.held + feeders.share(NOW)[0] - before)  # noqa: PLW2901  # what credit allows
        if kind == "learn":
            done(feeders, str(i), 1, min(feeder.learned + abs(size) + 1, before))
        elif kind == "again" and before:
            assert took(feeders, feeder, max(0, before - 5), min(5, before), 10) is Verdict.DUPLICATE
        elif kind == "bad" and size > 0:
            feeder.skip(before + size)
            refused[i] |= set(range(before, before + size))
        elif kind == "send" and size > 0:
            assert took(feeders, feeder, before, size, size * 10) is Verdict.TAKE
            accepted[i] += range(before, feeder.expected)
        assert sum(each.waiting for each in known) <= feeders.samples
        assert sum(each.in_flight_bytes for each in known) <= feeders.bytes
        for mine, told, each in zip(known, refused, accepted, strict=True):
            assert mine.learned <= mine.expected
            assert sorted([*each, *told]) == list(range(mine.expected))


ANYTHING = st.tuples(
    st.sampled_from(["send", "bad", "learn"]), st.integers(0, 4), st.integers(-6, 3), st.integers(1, 12)
)


@given(count=st.integers(1, 5), events=st.lists(ANYTHING, max_size=150))
def test_feeders_that_keep_to_nothing_never_overflow_the_inbox_and_are_told_of_nothing_that_still_waits(
    count: int, events: list[tuple[str, int, int, int]]
) -> None:
    feeders = room(samples=40, nbytes=4_000)
    known = [greeted(feeders, str(i)) for i in range(count)]
    inbox: list[list[int]] = [[] for _ in known]
    for kind, which, offset, size in events:
        i = which % count
        feeder, before = known[i], known[i].expected
        first = max(0, before + offset)
        if kind == "bad":
            feeder.skip(before + size)
        elif kind == "learn" and inbox[i]:
            taken, inbox[i] = inbox[i][:size], inbox[i][size:]
            done(feeders, str(i), 1, taken[-1] + 1)
        elif kind == "send" and took(feeders, feeder, first, size, size * 10) is Verdict.TAKE:
            assert first <= before < first + size == feeder.expected
            inbox[i] += range(before, feeder.expected)
        else:
            assert feeder.expected == before
        assert sum(map(len, inbox)) <= feeders.samples
        for each, waits in zip(known, inbox, strict=True):
            assert each.learned <= min([*waits, each.expected])
