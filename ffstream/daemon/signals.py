"""The signals that stop the daemon."""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType

log = logging.getLogger(__name__)


class StopSignals:
    """SIGTERM, SIGINT (Ctrl-C) and SIGHUP (the terminal is closed): each stops the daemon.

    While the daemon starts there is nothing to save, so the process ends at once, with exit code 0: loading can take
    longer than an orchestrator waits. Later the first signal sets ``stopping``. A second SIGTERM or SIGINT ends the
    process at once, unsaved, with exit code 128 plus the number of the signal. SIGHUP never counts as the second: a
    terminal that closes sends it twice, and systemd can send it along with SIGTERM.

    Attributes
    ----------
    started
        Whether there may be something to save; set when the daemon is ready.
    stopping
        Whether the daemon is to finish its step, save and end.
    """

    def __init__(self) -> None:
        self.started = False
        self.stopping = False
        self._impatient = False

    def catch(self) -> None:
        """Begin to listen, from the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        # Under nohup it is ignored from the beginning, and stays so.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_signal)

    def stop(self) -> None:
        """Let the daemon stop as a first signal does; from any thread."""
        self.stopping = True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self.started:
            # Nothing that a library holds on to, such as a compiler that it waits for, keeps the process from ending.
            try:
                log.info("stopped while starting: there was nothing to save")
            finally:
                os._exit(0)
        if number != signal.SIGHUP:
            if self._impatient:
                os._exit(128 + number)
            self._impatient = True
        self.stop()
