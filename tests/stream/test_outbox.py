from __future__ import annotations

import threading
from collections import deque
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


def test_it_wakes_once_when_it_stops_being_empty():
    outbox = Outbox(waker := Waker())
    outbox.put(ONE)
    outbox.put(TWO)
    assert waker.count == 1


def test_it_wakes_again_after_it_was_drained():
    outbox = Outbox(waker := Waker())
    outbox.put(ONE)
    outbox.drain()
    outbox.put(TWO)
    assert waker.count == 2


def test_what_is_not_urgent_waits_for_company():
    outbox = Outbox(waker := Waker())
    outbox.put(ONE, urgent=False)
    assert waker.count == 0
    outbox.put(TWO)
    assert waker.count == 1
    assert outbox.drain() == [ONE, TWO]


def test_two_threads_that_put_at_once_still_wake():
    outbox = Outbox(waker := Waker())
    first_is_in, second_is_in = threading.Event(), threading.Event()

    class Meeting(deque[Any]):
        """Holds the first output's thread up until the second output is in, or cannot come in."""

        def append(self, output: Any, /) -> None:
            super().append(output)
            if output is ONE:
                first_is_in.set()
                second_is_in.wait(0.3)

    def put_second() -> None:
        first_is_in.wait()
        outbox.put(TWO)
        second_is_in.set()

    outbox._outputs = Meeting()
    second = threading.Thread(target=put_second)
    second.start()
    outbox.put(ONE)
    second.join()
    assert waker.count >= 1
