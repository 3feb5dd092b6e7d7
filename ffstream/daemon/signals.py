"""The signals that stop the daemon."""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType

log = logging.getLogger(__name__)


class StopSignals:
    """Stops the daemon on SIGTERM, SIGINT (Ctrl-C) or SIGHUP (the terminal was closed).

    During startup there is nothing to save, so a signal ends the process at once with exit code 0: loading can take
    longer than an orchestrator waits. After startup, the first signal sets ``stopping``. A second SIGTERM or SIGINT
    ends the process at once, without saving, with exit code 128 plus the signal number. SIGHUP never counts as the
    second signal: a closing terminal sends it twice, and systemd can send it along with SIGTERM.

    Attributes
    ----------
    started
        True if there may be something to save; set when the daemon is ready.
    stopping
        True if the daemon should finish its step, save and exit.
    """

    def __init__(self) -> None:
        self.started = False
        self.stopping = False
        self._impatient = False

    def catch(self) -> None:
        """Install the handlers; call this from the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        # Under nohup, SIGHUP is ignored from the start and stays ignored.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_signal)

    def stop(self) -> None:
        """Stop the daemon as a first signal does; safe from any thread."""
        self.stopping = True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self.started:
            # Nothing that a library waits for, such as a compiler, keeps the process from exiting.
            try:
                log.info("stopped while starting: there was nothing to save")
            finally:
                os._exit(0)
        if number != signal.SIGHUP:
            if self._impatient:
                os._exit(128 + number)
            self._impatient = True
        self.stop()
