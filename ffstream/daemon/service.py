"""The daemon process: startup, main loop, shutdown.

Startup first takes the cheap steps that may fail: it locks the state directory and binds the sockets. Only then does it
load torch.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ffstream import __version__, failpoints, ports
from ffstream.config import Config
from ffstream.daemon.signals import StopSignals
from ffstream.daemon.sockets import Sockets, bind
from ffstream.errors import StateError
from ffstream.wire import InputSpec

if TYPE_CHECKING:
    from ffstream.daemon.control import ControlThread
    from ffstream.daemon.server import Server
    from ffstream.daemon.web import WebThread
    from ffstream.stream.engine import Engine
    from ffstream.stream.journal import Journal

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
STUCK_S = 30.0
# Maximum seconds the loop waits before it checks whether to stop.
WAIT_S = 0.1


def run(config: Config) -> None:
    """Run the daemon until a signal or a command stops it; a signal during startup ends the process.

    Raises
    ------
    StateError
        If the state directory cannot be used, or the newest checkpoint belongs to another network.
    BindError
        If a port is in use.
    """
    signals = StopSignals()
    signals.catch()
    failpoints.arm()
    with StateLock(config.state.directory):
        sockets = bind(config.server)
        # Torch takes seconds to load, and nothing more is logged until the daemon is ready.
        where = ports.join(config.server.host, config.server.port)
        log.info("starting on %s, state in %s", where, config.state.directory)
        _Daemon(config, sockets, signals).run()


class StateLock:
    """Holds a state directory for one daemon.

    Parameters
    ----------
    directory
        Created if missing.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Self:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._file = (self.directory / "lock").open("a+b")
        except OSError as error:
            message = (
                f"{self.directory}: cannot be used as the state directory: {error.strerror}; "
                "make it writable, or set state.directory"
            )
            raise StateError.of(error, message) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StateError(
                f"{self.directory}: another daemon uses this state directory; stop it, or set state.directory"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


@dataclass(frozen=True)
class _Running:
    """The parts of a running daemon; the last two have their own threads."""

    server: Server
    engine: Engine
    control: ControlThread
    web: WebThread


class _Daemon:
    """Starts the parts, runs the main loop, and stops the parts.

    The loop reads the sockets, sweeps, and answers. It does not wait while samples are waiting to be learned or while
    the network is asleep.
    """

    def __init__(self, config: Config, sockets: Sockets, signals: StopSignals) -> None:
        self.config = config
        self.sockets = sockets
        self.signals = signals
        self.started = time.monotonic()
        self.engine: Engine | None = None
        self.journal: Journal | None = None
        self._watchdog_at = 0.0

    def run(self) -> None:
        # Threads release the interpreter sooner than by default (5 ms), so that no sweep has to wait that long.
        sys.setswitchinterval(SWITCH_S)
        running = self._startup()
        try:
            while not self._finished():
                running.server.read(min(running.engine.wait_s, WAIT_S))
                running.engine.turn()
                if running.server.has_news:
                    running.server.drain()
        finally:
            # However the loop ends, what was learned is saved, unless the engine's own turn failed.
            self._shutdown(running)

    def _startup(self) -> _Running:
        # Imported here and not at the top, so that a port in use or a locked state directory is reported first.
        from ffstream.daemon.control import ControlThread
        from ffstream.daemon.metrics import Metrics
        from ffstream.daemon.server import Server
        from ffstream.daemon.web import WebThread, application
        from ffstream.stream.checkpoint import CheckpointStore
        from ffstream.stream.engine import BESIDE_QUERIES, Engine
        from ffstream.stream.inbox import Inbox
        from ffstream.stream.journal import Journal
        from ffstream.stream.outbox import Outbox

        bounds, state, network = self.config.server, self.config.state, self.config.network
        metrics = Metrics()
        web = WebThread(application(metrics.registry, self._trouble, self._unready), self.sockets.http)
        web.start()
        wake = self.sockets.wake.set
        inbox, outbox = Inbox(bounds.inbox_query_rows, bounds.inbox_bytes, wake), Outbox(wake)
        self.journal = Journal(state.journal_file, state.journal_bytes, wake)
        engine = Engine(self.config, CheckpointStore(state.directory, state.keep), self.journal, inbox, outbox)
        metrics.checkpoints.labels("damaged").inc(len(engine.damaged))
        if engine.restored_from is not None:
            metrics.checkpoint_time.set(engine.restored_from["saved_at"])
        spec = InputSpec(network.shape, network.labels, unlabelled=network.coding == "none")
        step = min(self.config.engine.max_batch, BESIDE_QUERIES)
        server = Server(bounds, spec, self.sockets, step, inbox, outbox, self.journal, metrics)
        control = ControlThread(self.sockets.control, inbox, metrics, lambda: self._status(engine), self.signals.stop)
        control.start()
        self.engine = engine
        self.signals.started = True
        # Loaded objects stay. Scanning all of them for garbage takes a quarter of a second, in the middle of a sweep.
        gc.collect()
        gc.freeze()
        _notify("READY=1")
        log.info("ready on %s, ports %d to %d", bounds.host, bounds.port, bounds.port + ports.HTTP)
        return _Running(server, engine, control, web)

    def _shutdown(self, running: _Running) -> None:
        _notify("STOPPING=1")
        log.info("stopping: finishing the current step and saving the state")
        self.signals.stop()
        running.server.intake.accepting = False
        try:
            running.engine.close()
        finally:
            running.server.drain()
            running.control.stop()
            running.web.stop()
            self.sockets.close()
        if self.journal is not None and self.journal.failure is not None:
            raise self.journal.failure
        log.info("stopped at version %d", running.engine.learner.version)

    def _finished(self) -> bool:
        """Feed the watchdog while the engine makes progress; return True if the daemon should stop."""
        now = time.monotonic()
        if now - self._watchdog_at > 1 and not self._trouble():
            self._watchdog_at = now
            _notify("WATCHDOG=1")
        return self.signals.stopping or (self.journal is not None and self.journal.failure is not None)

    def _trouble(self) -> str:
        if self.engine is None:
            return ""
        silent = time.monotonic() - self.engine.alive_at
        return f"the engine has made no progress for {silent:.0f} s" if silent > STUCK_S else ""

    def _unready(self) -> str:
        if self.engine is None:
            return "loading"
        recovery = self.engine.recovery
        if recovery is not None:
            return f"catching up: {recovery.done} of {recovery.total} records of the journal"
        if self.signals.stopping:
            return "stopping"
        if self.engine.report is not None and (layers := self.engine.report.not_finite):
            # A restart does not help: the journal leads to the same weights.
            return (
                f"weights or goodness are not finite in layer {', '.join(map(str, layers))}, so answers mean nothing; "
                "find a checkpoint with `ffstream ctl checkpoints`, and go back with `ffstream ctl rollback NAME`"
            )
        return self._trouble()

    def _status(self, engine: Engine) -> dict[str, Any]:
        network = self.config.network
        return {
            **engine.status(),
            "ffstream": __version__,
            "pid": os.getpid(),
            "uptime_s": time.monotonic() - self.started,
            "shape": list(network.shape),
            "labels": network.labels,
            "hidden": [layer.units for layer in network.stack],
            "coding": network.coding,
            "schedule": self.config.phases.schedule,
            "stopping": self.signals.stopping,
        }


def _notify(state: str) -> None:
    """Notify systemd, if it started the daemon with ``Type=notify`` (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier, suppress(OSError):
        # A leading @ names an abstract socket, which begins with a null byte.
        notifier.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
