from __future__ import annotations

import threading

import numpy as np
import pytest

from ffstream.stream.inbox import Command, Inbox, QueryBatch, SampleBatch


def make_samples(count: int, first: int = 0, feeder: str = "f") -> SampleBatch:
    numbers = np.arange(first, first + count)
    return SampleBatch(numbers.astype(np.float32).reshape(-1, 1), numbers, feeder, epoch=7, first=first)


def make_query(rows: int, token: str = "q") -> QueryBatch:
    return QueryBatch(token, np.zeros((rows, 1), np.float32), received=0.0)


def fill(inbox: Inbox, *items: SampleBatch | QueryBatch | Command) -> Inbox:
    for item in items:
        match item:
            case SampleBatch():
                inbox.put_samples(item)
            case QueryBatch():
                assert inbox.put_query(item)
            case Command():
                inbox.put_command(item)
    return inbox


def gather(inbox: Inbox, samples: int = 100, query_rows: int = 100):
    return inbox.gather(samples, query_rows)


def tokens(inbox: Inbox, query_rows: int) -> list[str]:
    return [query.token for query in gather(inbox, query_rows=query_rows).queries]


def test_splitting_keeps_the_numbering():
    head, tail = make_samples(5, first=10).split(2)
    assert (head.first, head.labels.tolist(), tail.first, tail.labels.tolist()) == (10, [10, 11], 12, [12, 13, 14])
    assert (tail.feeder, tail.epoch) == ("f", 7)


def test_samples_leave_in_order_with_their_own_inputs():
    inbox = fill(Inbox(10, query_bytes=2**20), make_samples(3), make_samples(3, 3))
    taken = gather(inbox).samples
    assert [batch.first for batch in taken] == [0, 3]
    assert np.concatenate([batch.inputs[:, 0] for batch in taken]).tolist() == list(range(6))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_a_batch_that_is_too_large_is_split_and_nothing_is_lost(count):
    inbox = fill(Inbox(10, query_bytes=2**20), make_samples(3), make_samples(8, 3), make_samples(1, 11))
    numbers = []
    while inbox.samples:
        taken = gather(inbox, count).samples
        assert sum(len(batch.labels) for batch in taken) <= count
        assert all(batch.labels[0] == batch.first for batch in taken)
        numbers += [int(label) for batch in taken for label in batch.labels]
    assert numbers == list(range(12))


@pytest.mark.parametrize("count", [1, 3, 5, 100])
def test_what_waits_is_counted_down_to_zero(count):
    inbox = fill(Inbox(10, query_bytes=2**20), make_samples(3), make_samples(8), make_query(2))
    assert (inbox.samples, inbox.sample_bytes, inbox.query_rows) == (11, 44, 2)
    for _ in range(11):
        gather(inbox, count)
    assert (inbox.samples, inbox.sample_bytes, inbox.query_rows) == (0, 0, 0)


def test_no_sample_is_taken_where_none_was_asked_for():
    inbox = fill(Inbox(10, query_bytes=2**20), make_samples(3), make_query(1))
    assert gather(inbox, 0).samples == []
    assert inbox.samples == 3


def test_more_query_rows_than_may_wait_are_refused():
    inbox = fill(Inbox(10, query_bytes=2**20), make_query(6))
    assert not inbox.put_query(make_query(5))
    assert inbox.query_rows == 6


def test_there_is_room_for_queries_again_once_some_are_taken():
    inbox = fill(Inbox(10, query_bytes=2**20), make_query(10))
    gather(inbox)
    assert inbox.put_query(make_query(10))


def test_a_query_larger_than_the_bound_may_wait_alone():
    assert Inbox(10, query_bytes=2**20).put_query(make_query(50))


def test_queries_are_taken_as_far_as_the_rows_go():
    inbox = fill(Inbox(100, query_bytes=2**20), make_query(4, "a"), make_query(4, "b"), make_query(4, "c"))
    assert tokens(inbox, 8) == ["a", "b"]
    assert tokens(inbox, 8) == ["c"]


def test_a_query_larger_than_a_sweep_is_taken_alone():
    inbox = fill(Inbox(100, query_bytes=2**20), make_query(50, "large"), make_query(1, "small"))
    assert tokens(inbox, 8) == ["large"]
    assert tokens(inbox, 8) == ["small"]


def test_no_query_overtakes_a_larger_one():
    inbox = fill(Inbox(100, query_bytes=2**20), make_query(1, "a"), make_query(50, "large"), make_query(1, "b"))
    assert tokens(inbox, 8) == ["a"]


def test_every_command_is_taken_in_order():
    inbox = fill(Inbox(10, query_bytes=2**20), Command("hold"), Command("resume"))
    assert [command.name for command in gather(inbox).commands] == ["hold", "resume"]
    assert gather(inbox).commands == []


@pytest.mark.parametrize(
    ("item", "urgent"),
    [(make_query(1), True), (Command("hold"), True), (make_samples(1), False)],
    ids=["query", "command", "samples"],
)
def test_queries_and_commands_are_urgent(item, urgent):
    inbox = fill(Inbox(10, query_bytes=2**20), item)
    assert inbox.urgent is urgent
    gather(inbox)
    assert not inbox.urgent


def test_a_command_from_another_thread_ends_the_wait_for_the_sockets():
    woken = threading.Event()
    inbox = Inbox(10, 2**20, woken.set)
    fill(inbox, make_samples(1), make_query(1))
    assert not woken.is_set()
    inbox.put_command(Command("hold"))
    assert woken.is_set()


def test_of_nothing_nothing_is_taken():
    work = gather(Inbox(10, query_bytes=2**20))
    assert (work.samples, work.queries, work.commands) == ([], [], [])


def test_queries_are_bounded_in_bytes_too():
    inbox = Inbox(100, query_bytes=1)
    assert inbox.put_query(make_query(2))
    assert not inbox.put_query(make_query(2))
