from __future__ import annotations

import threading
from typing import Any

from ffstream.stream.outbox import Outbox, Saved

ONE, TWO, THREE = Saved("one"), Saved("two"), Saved("three")


class Waker:
    """Counts how often it was woken."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def test_outputs_leave_in_the_order_in_which_they_came():
    outbox = Outbox(Waker())
    for output in (ONE, TWO, THREE):
        outbox.put(output)
    assert outbox.drain() == [ONE, TWO, THREE]


def test_draining_empties_it():
    outbox = Outbox(Waker())
    outbox.put(ONE)
    outbox.drain()
    assert outbox.drain() == []


def test_it_is_due_until_it_is_drained():
    outbox = Outbox(Waker())
    assert not outbox.due
    outbox.put(ONE)
    assert outbox.due
    outbox.drain()
    assert not outbox.due


def test_what_is_not_urgent_waits_for_company():
    outbox = Outbox(Waker())
    outbox.put(ONE, urgent=False)
    assert not outbox.due
    outbox.put(TWO)
    outbox.put(THREE, urgent=False)
    assert outbox.due
    assert outbox.drain() == [ONE, TWO, THREE]


def test_only_another_threads_output_wakes_the_loop():
    outbox = Outbox(waker := Waker())
    outbox.put(ONE)
    assert waker.count == 0
    outbox.post(TWO)
    assert (waker.count, outbox.due) == (1, True)


def test_what_comes_while_it_is_drained_leaves_or_is_due_again():
    outbox = Outbox(lambda: None)
    posted = [Saved(str(number)) for number in range(2_000)]
    other = threading.Thread(target=lambda: [outbox.post(output) for output in posted])
    other.start()
    drained: list[Any] = []
    while other.is_alive() or outbox.due:
        drained += outbox.drain()
    other.join()
    assert drained == posted
