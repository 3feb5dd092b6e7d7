"""Errors that ffstream raises on purpose.

::

    FFStreamError
    ├── ConfigError          the TOML file is unreadable or says something impossible
    ├── BindError            a port is in use, or the address is not this machine's
    ├── StateError           the state directory cannot be used
    │   ├── DiskError        the disk is full, or a read or write of it failed
    │   ├── CheckpointError  a checkpoint is damaged or belongs to another network
    │   └── JournalError     the journal is damaged, or does not continue the checkpoint
    ├── CatchingUp           the daemon is replaying its journal; try again afterwards
    ├── NotCompiled          the loop through the layers could not be compiled
    ├── WireError            a message does not follow docs/protocol.md
    ├── SourceError          a file or data set to feed cannot be read, or does not fit the daemon
    ├── InstallError         an installed library cannot be used
    ├── Unreachable          the daemon did not answer in time
    └── Refused              the daemon answered with an error

Each class carries the process exit code that the command line ends with (``sysexits.h`` where it has
one, because systemd prints those by name).
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

# Error numbers of a disk that is full, failing, or temporarily out of reach.
_OF_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})


class FFStreamError(Exception):
    """Base class of every error that ffstream raises on purpose."""

    exit_code = 70


class ConfigError(FFStreamError):
    """The configuration is unreadable, has an unknown key, or a value out of range."""

    exit_code = 78


class BindError(FFStreamError):
    """A socket could not be bound."""

    exit_code = 69


class StateError(FFStreamError):
    """The state directory is missing, read-only, or used by another daemon."""

    exit_code = 73

    @staticmethod
    def of(error: OSError, message: str) -> StateError:
        """Return the error to raise for a system error: a DiskError if another attempt may succeed."""
        return (DiskError if error.errno in _OF_DISK else StateError)(message)


class DiskError(StateError):
    """The disk is full, or a read or write of it failed; another attempt may succeed."""

    exit_code = 74


class CheckpointError(StateError):
    """A checkpoint is damaged, or was made by a network of another shape."""

    exit_code = 65


class JournalError(StateError):
    """The journal is damaged, or does not continue the newest checkpoint."""

    exit_code = 65


class CatchingUp(FFStreamError):
    """The daemon is replaying its journal after a crash."""

    exit_code = 75


class NotCompiled(FFStreamError):
    """The loop through the layers could not be compiled, and runs uncompiled."""


class WireError(FFStreamError):
    """A message that cannot be accepted.

    Parameters
    ----------
    code
        One of the error codes of docs/protocol.md, stable across versions.
    message
        Description of the error, and what to do about it.
    field
        The header field or tensor at fault, or ``""`` for the message as a whole.
    header
        The fields of the message that could be read, so that an answer can identify it.
    """

    exit_code = 76

    def __init__(self, code: str, message: str, field: str = "", header: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.code = code
        self.message = message
        self.field = field
        self.header = header or {}


class SourceError(FFStreamError):
    """A file, folder or data set to read is missing, malformed, or does not fit the daemon."""

    exit_code = 66


class InstallError(FFStreamError):
    """An installed library cannot be used as it is."""

    exit_code = 69


class Unreachable(FFStreamError):
    """The daemon did not answer in time."""

    exit_code = 75


class Refused(FFStreamError):
    """The daemon answered a request with an error.

    ``code`` and ``field`` are those of docs/protocol.md, "Errors".
    """

    exit_code = 77

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(f"{code}: {field}: {message}" if field else f"{code}: {message}")
        self.code = code
        self.field = field
