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

# LSN and offset of the first sample of the step, and of its last; how often its only sample has died so before.
_NOTE = struct.Struct("<QQQQQ")
# Deaths alone after which a sample is set aside.
DEATHS = 2

# Where a sample lies in the journal: its record's LSN, and how many samples of that record come before it.
Place = tuple[int, int]
NOWHERE: Place = (0, 0)


class Attempt:
    """The note of the step in hand.

    Parameters
    ----------
    path
        Its file, made if missing.

    Attributes
    ----------
    suspicious
        Whether there may still be samples that are suspected.
    condemned
        A sample that has died twice alone.

    Raises
    ------
    StateError
        If the file cannot be made; DiskError where the disk is full.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("r+b" if path.exists() else "w+b") as file:
                note = file.read(_NOTE.size)
                file.seek(0)
                # Written, not only made as long: a page that the disk has no room for would be a SIGBUS later.
                file.write(note.ljust(_NOTE.size, b"\0"))
                file.truncate(_NOTE.size)
                self._note = mmap.mmap(file.fileno(), _NOTE.size)
        except OSError as error:
            raise StateError.of(error, f"{path}: {error.strerror}; make the state directory writable") from error
        *first, last_lsn, last_offset, deaths = _NOTE.unpack(self._note)
        self._last: Place = (last_lsn, last_offset)
        alone = (*first,) == self._last != NOWHERE
        self._deaths = deaths + 1 if alone else 0
        self.condemned = self._last if self._deaths >= DEATHS else None
        self.suspicious = self._last != NOWHERE

    def suspects(self, place: Place) -> bool:
        """Whether a sample is to be learned alone: it was, or comes before one that was, in the step that died."""
        self.suspicious = place <= self._last
        return self.suspicious

    def begin(self, first: Place, last: Place) -> None:
        """Note that a step begins, from one sample to another."""
        deaths = self._deaths if first == last == self._last else 0
        _NOTE.pack_into(self._note, 0, *first, *last, deaths)

    def end(self) -> None:
        """Note that the step has ended well."""
        _NOTE.pack_into(self._note, 0, *NOWHERE, *NOWHERE, 0)
