"""A note of the samples that were being learned when the process died.

A sample that ends the daemon would end it again at every restart, because nothing acknowledged is thrown away. So the
current step is noted in a file that outlives the process (a page of memory that the kernel keeps; it need not survive a
power cut, and nothing waits for a disk). After a death within a step its samples are learned one by one, and a sample
that twice ends the process by itself is set aside.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from ffstream.errors import StateError

# LSN and offset of the step's first sample, and of its last; number of earlier deaths if it has only one sample.
_NOTE = struct.Struct("<QQQQQ")
# Number of deaths in a step of its own after which a sample is set aside.
DEATHS = 2

# Position of a sample in the journal: its record's LSN, and the number of samples before it in that record.
Place = tuple[int, int]
NOWHERE: Place = (0, 0)


class Attempt:
    """The note of the current step.

    Parameters
    ----------
    path
        Its file, created if missing.

    Attributes
    ----------
    suspicious
        True while there may be suspected samples.
    condemned
        A sample that has died twice in a step of its own.

    Raises
    ------
    StateError
        If the file cannot be created; DiskError if the disk is full.
    """

    def __init__(self, path: Path) -> None:
        try:
            with path.open("r+b" if path.exists() else "w+b") as file:
                note = file.read(_NOTE.size)
                file.seek(0)
                # Written, not only extended: a page that the disk has no room for would cause a SIGBUS later.
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
        """Return True if a sample must be learned by itself: it is, or precedes, a sample of the step that died."""
        self.suspicious = place <= self._last
        return self.suspicious

    def begin(self, first: Place, last: Place) -> None:
        """Note that a step begins, with its first and last sample."""
        deaths = self._deaths if first == last == self._last else 0
        _NOTE.pack_into(self._note, 0, *first, *last, deaths)

    def end(self) -> None:
        """Note that the step has ended normally."""
        _NOTE.pack_into(self._note, 0, *NOWHERE, *NOWHERE, 0)
