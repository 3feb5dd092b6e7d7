from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ffstream import failpoints
from ffstream.errors import ConfigError


@pytest.fixture
def arm(monkeypatch):
    def to(value: str) -> None:
        monkeypatch.setenv(failpoints.VARIABLE, value)
        failpoints.arm()

    yield to
    monkeypatch.undo()
    failpoints.arm()


def reached(name: str) -> int | None:
    """Reach a failpoint and return the error that it raised."""
    try:
        failpoints.reach(name)
    except OSError as error:
        return error.errno
    return None


def test_nothing_happens_unless_armed(arm):
    arm("")
    assert not failpoints.armed()
    assert reached("journal.write") is None


@pytest.mark.parametrize(("action", "code"), [("full", errno.ENOSPC), ("fail", errno.EIO)])
def test_a_write_fails_once_at_its_number(arm, action, code):
    arm(f"journal.write@2:{action}")
    assert failpoints.armed()
    assert [reached("journal.write") for _ in range(4)] == [None, code, None, None]


def test_the_first_time_is_the_default(arm):
    arm("journal.write:fail")
    assert [reached("journal.write") for _ in range(2)] == [errno.EIO, None]


def test_with_a_plus_it_goes_on_failing(arm):
    arm("journal.write@2+:full")
    assert [reached("journal.write") for _ in range(4)] == [None, *[errno.ENOSPC] * 3]


def test_names_are_counted_apart_and_others_pass(arm):
    arm("a@2:fail, b:full")
    assert [reached(name) for name in ("a", "c", "b", "a")] == [None, None, errno.ENOSPC, errno.EIO]


def test_the_error_names_its_failpoint(arm):
    arm("journal.write:fail")
    with pytest.raises(OSError, match=r"failpoint journal\.write"):
        failpoints.reach("journal.write")


def test_of_many_threads_one_is_the_nth(arm):
    arm("a@500:fail")
    failed: list[int] = []

    def reach_often() -> None:
        failed.extend(1 for _ in range(250) if reached("a") is not None)

    threads = [threading.Thread(target=reach_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [1]


def test_a_kill_is_a_sigkill():
    lines = ["from ffstream.failpoints import arm, reach", "arm()", "reach('a')", "print('between', flush=True)"]
    code = "\n".join([*lines, "reach('a')", "print('after')"])
    environment = {**os.environ, failpoints.VARIABLE: "a@2:kill"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "between\n")


def test_a_stall_stops_its_thread_and_no_other(arm):
    arm("a@2:stall")
    threads = [threading.Thread(target=reached, args=("a",), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    threads[0].join(10)
    threads[1].join(0.2)
    assert sorted(thread.is_alive() for thread in threads) == [False, True]
    assert reached("a") is None


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "a:",
        "a:die",
        ":kill",
        "a@:kill",
        "a@0:kill",
        "a@x:kill",
        "a@1-:kill",
        "a b:kill",
        "a:kill,b",
        "a:kill;b:kill",
    ],
)
def test_what_does_not_follow_the_grammar_is_refused_and_quoted(arm, value):
    with pytest.raises(ConfigError, match=failpoints.VARIABLE):
        arm(value)


def test_the_document_lists_every_name_and_no_other():
    package = Path(failpoints.__file__).parent
    sources = "".join(file.read_text("utf-8") for file in package.rglob("*.py"))
    reached_names = set(re.findall(r'failpoints\.reach\(f?"([^"{]+)', sources))
    rows = [
        line
        for line in (package.parent / "docs" / "reliability.md").read_text("utf-8").splitlines()
        if line[:3] == "| `"
    ]
    listed = {name for row in rows for name in re.findall(r"`([a-z]+\.[a-z]*)", row.split("|")[1])}
    assert listed == reached_names
