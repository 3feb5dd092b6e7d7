"""Failpoints: named places where a test makes the process die, or a write fail.

Inert unless the environment variable ``FFSTREAM_FAILPOINT`` is set when the daemon starts::

    FFSTREAM_FAILPOINT=NAME[@N[+]]:ACTION[,…]

ACTION happens the N-th time that NAME is reached (by default the first), and with a ``+`` every time from then on.
Actions: ``kill`` (SIGKILL to the process itself), ``full`` (OSError, no space left on device), ``fail`` (OSError,
input/output error), ``stall`` (the thread stops for good). A name that is never reached has no effect;
docs/reliability.md lists the names.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import threading
from dataclasses import dataclass

from ffstream.errors import ConfigError

log = logging.getLogger(__name__)

VARIABLE = "FFSTREAM_FAILPOINT"
ACTIONS = ("kill", "full", "fail", "stall")
_GRAMMAR = re.compile(rf"(?P<name>[^@:\s]+)(@(?P<nth>[1-9]\d*)(?P<on>\+)?)?:(?P<action>{'|'.join(ACTIONS)})")


@dataclass
class _Failpoint:
    """One entry of the variable, and the number of times that its place has been reached."""

    name: str
    nth: int
    on: bool
    action: str
    reached: int = 0

    def due(self) -> bool:
        self.reached += 1
        return self.reached == self.nth or (self.on and self.reached > self.nth)

    def act(self) -> None:
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.action == "stall":
            threading.Event().wait()
        code = errno.ENOSPC if self.action == "full" else errno.EIO
        raise OSError(code, f"{os.strerror(code)} (failpoint {self.name})")


_armed: list[_Failpoint] = []
_lock = threading.Lock()


def arm() -> None:
    """Arm the failpoints in ``FFSTREAM_FAILPOINT``, replacing those armed before.

    Raises
    ------
    ConfigError
        If the variable does not follow the grammar.
    """
    entries = filter(None, (entry.strip() for entry in os.environ.get(VARIABLE, "").split(",")))
    _armed[:] = [_parse(entry) for entry in entries]
    if _armed:
        log.warning("failpoints are armed: %s", os.environ[VARIABLE])


def armed() -> bool:
    """Return True if any failpoint is armed; lets callers skip making costly names."""
    return bool(_armed)


def reach(name: str) -> None:
    """Act if the failpoint of this name is armed and due: die, stall, or raise OSError."""
    if _armed:
        with _lock:
            due = [failpoint for failpoint in _armed if failpoint.name == name and failpoint.due()]
        for failpoint in due:
            failpoint.act()


def _parse(entry: str) -> _Failpoint:
    match = _GRAMMAR.fullmatch(entry)
    if match is None:
        raise ConfigError(
            f"{VARIABLE}: expected NAME[@N[+]]:ACTION with ACTION one of {', '.join(ACTIONS)}, got {entry!r}"
        )
    return _Failpoint(match["name"], int(match["nth"] or 1), bool(match["on"]), match["action"])
