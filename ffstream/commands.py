"""The commands that an operator can give a daemon: one table for the daemon and the command line."""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Literal, Self, TypeAlias


class Takes(Enum):
    """Argument of a command: the name of a checkpoint, or none."""

    NO_NAME = "takes no name"
    MAYBE_A_NAME = "takes a name or none"
    A_NAME = "takes the name of a checkpoint"


class CommandName(StrEnum):
    """A command, by its name on the wire.

    Attributes
    ----------
    takes
        Argument that it takes: the name of a checkpoint, or none.
    help
        One-line description for people.
    """

    takes: Takes
    help: str

    def __new__(cls, name: str, takes: Takes, text: str) -> Self:
        """Make a member whose value is its name, with the other attributes set."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.takes, member.help = takes, text
        return member

    STATUS = "status", Takes.NO_NAME, "Report the state of the daemon."
    SHUTDOWN = "shutdown", Takes.NO_NAME, "Finish the step, save and stop."
    SLEEP = "sleep", Takes.NO_NAME, "Override the schedule: only sleep, until the next override or auto."
    WAKE = "wake", Takes.NO_NAME, "Override the schedule: never sleep, until the next override or auto."
    SHAM = "sham", Takes.NO_NAME, "Sleep by the schedule, but change nothing asleep, until the next override or auto."
    AUTO = "auto", Takes.NO_NAME, "End the override: the schedule decides again."
    HOLD = "hold", Takes.NO_NAME, "Stop learning; queries are answered."
    RESUME = "resume", Takes.NO_NAME, "Resume learning."
    CHECKPOINTS = "checkpoints", Takes.NO_NAME, "List the checkpoints."
    CHECKPOINT = "checkpoint", Takes.MAYBE_A_NAME, "Save now; under NAME, keep the checkpoint until it is unpinned."
    ROLLBACK = "rollback", Takes.A_NAME, "Go back to the checkpoint NAME, pin it, and learn on from there."
    PIN = "pin", Takes.A_NAME, "Keep the checkpoint NAME."
    UNPIN = "unpin", Takes.A_NAME, "Let the checkpoint NAME be removed when it is old."


# The engine carries these out one after another. The control thread answers the others at once, whatever the engine is
# doing. mypy proves that one of the two handles each command.
EngineCommand: TypeAlias = Literal[
    CommandName.SLEEP,
    CommandName.WAKE,
    CommandName.SHAM,
    CommandName.AUTO,
    CommandName.HOLD,
    CommandName.RESUME,
    CommandName.CHECKPOINTS,
    CommandName.CHECKPOINT,
    CommandName.ROLLBACK,
    CommandName.PIN,
    CommandName.UNPIN,
]
