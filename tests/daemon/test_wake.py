"""What ends the loop's wait for the sockets."""

from __future__ import annotations

import contextlib
import select
import threading

import pytest

from ffstream.daemon.sockets import Wake


@pytest.fixture
def wake():
    with contextlib.closing(Wake()) as made:
        yield made


def readable(wake: Wake, wait_s: float = 0.0) -> bool:
    return bool(select.select([wake.fileno()], [], [], wait_s)[0])


def test_another_thread_ends_a_wait(wake: Wake) -> None:
    setter = threading.Timer(0.05, wake.set)
    setter.start()
    assert readable(wake, 30)
    # It is pending a moment after it can be read.
    setter.join()
    assert wake.pending


def test_what_is_cleared_is_set_no_more(wake: Wake) -> None:
    wake.set()
    wake.set()
    wake.clear()
    assert not wake.pending
    assert not readable(wake)


def test_it_can_be_set_again(wake: Wake) -> None:
    wake.set()
    wake.clear()
    wake.set()
    assert wake.pending
    assert readable(wake)


def test_what_is_set_in_the_middle_of_clearing_is_pending(wake: Wake, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        """A socket at whose reading another thread comes in between."""

        def __init__(self, real) -> None:
            self.real = real

        def recv(self, size: int) -> bytes:
            wake.set()
            return self.real.recv(size)

    wake.set()
    real = wake._read
    monkeypatch.setattr(wake, "_read", Interrupted(real))
    wake.clear()
    monkeypatch.undo()
    assert wake.pending


def test_what_is_cleared_in_the_middle_of_setting_is_not_left_there_unseen(
    wake: Wake, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        """A socket before whose writing another thread comes in between."""

        def __init__(self, real) -> None:
            self.real = real

        def send(self, content: bytes) -> int:
            wake.clear()
            return self.real.send(content)

    real = wake._write
    monkeypatch.setattr(wake, "_write", Interrupted(real))
    wake.set()
    monkeypatch.undo()
    assert readable(wake)
    assert wake.pending


def test_a_closed_one_is_set_in_vain() -> None:
    wake = Wake()
    wake.close()
    wake.set()
