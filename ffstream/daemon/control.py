"""The control socket, served by its own thread: neither a busy stream nor a stuck engine locks an operator out."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import zmq

from ffstream import wire
from ffstream.commands import CommandName, EngineCommand, Takes
from ffstream.daemon.metrics import Metrics
from ffstream.daemon.sockets import Wake
from ffstream.errors import CatchingUp, CheckpointError, StateError, WireError
from ffstream.stream.inbox import Command, Inbox
from ffstream.wire import Message

log = logging.getLogger(__name__)

# Seconds the engine may take for a command, counted from the command's arrival.
ENGINE_S = 60.0
# Maximum number of commands that may wait for the engine.
WAITING = 64
POLL_MS = 100
MESSAGE_BYTES = wire.HEADER_BYTES


@dataclass(frozen=True)
class _Asked:
    """A command for the engine, the message that carried it, and the ``time.monotonic()`` at which to give up."""

    peer: bytes
    message: Message
    command: Command
    give_up: float


class ControlThread:
    """Answers commands: ``status`` and ``shutdown`` at once, engine commands one at a time and in order.

    Parameters
    ----------
    socket
        A bound ROUTER socket; from ``start`` on, only this thread uses it, and it closes the socket.
    inbox
        Receives the commands for the engine, each after the previous one is answered.
    metrics
        Counts refusals and lost replies.
    status
        Returns the reply to ``status``; must not wait for the engine, so that a stuck engine can be seen.
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
        # The first one is with the engine.
        self._asked: deque[_Asked] = deque()
        self._answered = Wake()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self) -> None:
        """Start answering commands."""
        self._thread.start()

    def stop(self) -> None:
        """Answer finished commands, refuse the others, close the socket, and wait for the thread."""
        self._stopping.set()
        self._answered.set()
        self._thread.join(timeout=ENGINE_S)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._answered.fileno(), zmq.POLLIN)
        while not self._stopping.is_set():
            poller.poll(POLL_MS)
            self._answered.clear()
            if int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
                self._take(*self._socket.recv_multipart())
            self._settle()
        self._settle()
        while self._asked:
            asked = self._asked.popleft()
            stopping = asked.message.error("stopping", "the daemon is stopping and takes no more commands")
            self._refuse(asked.peer, stopping)
        self._answered.close()
        # Unread replies must not keep the process from exiting.
        self._socket.close(linger=1000)

    def _take(self, peer: bytes, *frames: bytes) -> None:
        """Answer a message, or queue its command for the engine."""
        try:
            message = wire.decode(list(frames), MESSAGE_BYTES)
            message.integer("id")
            if message.kind != "command":
                raise message.error("unknown_type", f"the control socket takes 'command', got {message.kind!r}", "type")
            match name := _name(message):
                case CommandName.STATUS:
                    self._reply(peer, message, self._status())
                case CommandName.SHUTDOWN:
                    self._shutdown()
                    self._reply(peer, message, {})
                case _:
                    self._line_up(peer, message, name)
        except WireError as error:
            self._refuse(peer, error)

    def _line_up(self, peer: bytes, message: Message, name: EngineCommand) -> None:
        if len(self._asked) >= WAITING:
            raise message.error("busy", "too many commands are waiting; try again")
        named = name.takes is Takes.A_NAME or (
            name.takes is Takes.MAYBE_A_NAME and message.fields.get("checkpoint") is not None
        )
        command = Command(name, message.text("checkpoint") if named else "")
        command.reply.add_done_callback(lambda _: self._answered.set())
        self._asked.append(_Asked(peer, message, command, time.monotonic() + ENGINE_S))
        if len(self._asked) == 1:
            self._inbox.put_command(command)

    def _settle(self) -> None:
        """Answer the engine's current command once it is done or has timed out, and hand over the next."""
        while self._asked and (self._asked[0].command.reply.done() or time.monotonic() > self._asked[0].give_up):
            asked = self._asked.popleft()
            try:
                self._reply(asked.peer, asked.message, {**_outcome(asked), **self._status()})
            except WireError as error:
                self._refuse(asked.peer, error)
            if self._asked:
                self._inbox.put_command(self._asked[0].command)

    def _reply(self, peer: bytes, message: Message, fields: Mapping[str, Any]) -> None:
        self._send([peer, *wire.encode("reply", {"id": message.integer("id"), **fields})])

    def _refuse(self, peer: bytes, error: WireError) -> None:
        self._metrics.rejected.labels("control", error.code).inc()
        self._send([peer, *wire.encode_error(error, "id")])

    def _send(self, frames: wire.Frames) -> None:
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError as error:
            self._metrics.lost.labels("control").inc()
            log.debug("a reply was lost: %s", error)


def _name(message: Message) -> CommandName:
    text = message.text("name")
    name = next((known for known in CommandName if known == text), None)
    if name is None:
        raise message.error("unknown_command", f"expected one of {', '.join(CommandName)}, got {text!r}", "name")
    return name


def _outcome(asked: _Asked) -> dict[str, Any]:
    """Return the engine's reply; raise WireError if the command failed or timed out."""
    command, message = asked.command, asked.message
    try:
        return command.reply.result(timeout=0)
    except TimeoutError:
        late = f"the engine has not carried out the command within {ENGINE_S:g} s, but may still do so"
        raise message.error("engine_stuck", late) from None
    except CheckpointError as error:
        if command.name.takes is Takes.A_NAME:
            raise message.error("bad_checkpoint", str(error), "checkpoint") from error
        raise message.error("not_saved", str(error)) from error
    except StateError as error:
        raise message.error("not_saved", str(error)) from error
    except CatchingUp as error:
        raise message.error("catching_up", str(error)) from error
