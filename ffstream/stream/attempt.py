"""Which samples were being learned when the process died.

A sample that ends the daemon would end it again at every restart, because nothing acknowledged is thrown away. So the
step in hand is noted in a file that outlives the process (a page of memory that the kernel keeps; no power cut has to
be survived, and nothing waits for a disk). After a death within a step its samples are learned one by one, and one
that dies twice alone is set aside.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from ffstream.errors import StateError

# LSN and offset of the first sample of the step, how many it has, and how often its only sample has died so before.
_NOTE = struct.Struct("<QQII")
# Deaths alone after which a sample is set aside.
DEATHS = 2


class Attempt:
    """The note of the step in hand.

    Parameters
    ----------
    path
        Its file, made if missing.

    Attributes
    ----------
    suspects
        Samples that are to be learned one by one, since one of them may have ended the process.
    condemned
        (LSN, offset) of a sample that has died twice alone.

    Raises
    ------
    StateError
        If the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.truncate(_NOTE.size)
                self._note = mmap.mmap(file.fileno(), _NOTE.size)
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}; make the state directory writable") from error
        lsn, offset, count, deaths = _NOTE.unpack(self._note)
        self.suspects = count
        self._died, self._deaths = (lsn, offset), deaths + 1 if count == 1 else 0
        self.condemned = self._died if self._deaths >= DEATHS else None

    def begin(self, front: tuple[int, int], count: int) -> None:
        """Note that a step begins with so many samples, the first of which lies at ``front``."""
        deaths = self._deaths if count == 1 and front == self._died else 0
        _NOTE.pack_into(self._note, 0, *front, count, deaths)

    def end(self, count: int) -> None:
        """Note that the step has ended well."""
        _NOTE.pack_into(self._note, 0, 0, 0, 0, 0)
        self.suspects = max(0, self.suspects - count)
