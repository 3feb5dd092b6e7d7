"""The control socket, in a thread of its own, so that a busy stream cannot keep an operator out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from ffstream import wire
from ffstream.daemon.metrics import Metrics
from ffstream.errors import CatchingUp, CheckpointError, StateError, WireError
from ffstream.stream.inbox import Command, Inbox
from ffstream.wire import Message

log = logging.getLogger(__name__)

# Those that are about one checkpoint, which is named.
OF_CHECKPOINT = ("rollback", "pin", "unpin")
ENGINE_COMMANDS = ("sleep", "wake", "sham", "auto", "hold", "resume", "checkpoints", "checkpoint", *OF_CHECKPOINT)
COMMANDS = ("status", *ENGINE_COMMANDS, "shutdown")
ENGINE_S = 60.0
POLL_MS = 100
MESSAGE_BYTES = wire.HEADER_BYTES


class ControlThread:
    """Answers commands one after another.

    Parameters
    ----------
    socket
        A bound ROUTER; this thread alone uses it from ``start`` on, and closes it.
    inbox
        Where commands for the engine go.
    metrics
        Refusals are counted here.
    status
        Returns what ``status`` answers; must not wait for the engine, so that a stuck one can be seen.
    shutdown
        Asks the daemon to stop.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        inbox: Inbox,
        metrics: Metrics,
        status: Callable[[], dict[str, Any]],
        shutdown: Callable[[], Any],
    ) -> None:
        self._socket = socket
        self._inbox = inbox
        self._metrics = metrics
        self._status = status
        self._shutdown = shutdown
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what is in hand, close the socket, and wait for the thread."""
        self._stopping.set()
        self._thread.join(timeout=ENGINE_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._socket.poll(POLL_MS):
                peer, *frames = self._socket.recv_multipart()
                try:
                    self._socket.send_multipart([peer, *self._answer(frames)], zmq.NOBLOCK)
                except zmq.ZMQError as error:
                    self._metrics.lost.labels("control").inc()
                    log.debug("a reply was lost: %s", error)
        # Replies that nobody reads must not keep the process from ending.
        self._socket.close(linger=1000)

    def _answer(self, frames: list[bytes]) -> wire.Frames:
        try:
            message = wire.decode(frames, MESSAGE_BYTES)
            request = message.integer("id")
            if message.kind != "command":
                raise message.error("unknown_type", f"the control socket takes 'command', got {message.kind!r}", "type")
            return wire.encode("reply", {"id": request, **self._execute(message)})
        except WireError as error:
            self._metrics.rejected.labels("control", error.code).inc()
            return wire.encode_error(error, "id")

    def _execute(self, message: Message) -> dict[str, Any]:
        name = message.text("name")
        if name == "status":
            return self._status()
        if name == "shutdown":
            self._shutdown()
            return {}
        if name not in ENGINE_COMMANDS:
            raise message.error("unknown_command", f"expected one of {', '.join(COMMANDS)}, got {name!r}", "name")
        named = name in OF_CHECKPOINT or (name == "checkpoint" and message.fields.get("checkpoint") is not None)
        command = Command(name, message.text("checkpoint") if named else "")
        self._inbox.put_command(command)
        return self._wait(command, message)

    def _wait(self, command: Command, message: Message) -> dict[str, Any]:
        give_up = time.monotonic() + ENGINE_S
        while time.monotonic() < give_up:
            try:
                return {**command.reply.result(POLL_MS / 1e3), **self._status()}
            except TimeoutError:
                if self._stopping.is_set():
                    raise message.error("stopping", "the daemon stops and took no more commands") from None
            except CheckpointError as error:
                if command.name in OF_CHECKPOINT:
                    raise message.error("bad_checkpoint", str(error), "checkpoint") from error
                raise message.error("not_saved", str(error)) from error
            except StateError as error:
                raise message.error("not_saved", str(error)) from error
            except CatchingUp as error:
                raise message.error("catching_up", str(error)) from error
        raise message.error("engine_stuck", f"the engine did not take the command within {ENGINE_S:g} s")
