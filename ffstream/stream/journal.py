"""The durable journal (write-ahead log): a record is on disk before its effect is acknowledged or published.

One SQLite file holds one table of records with consecutive log sequence numbers (LSN), each with its CRC-32. Appending
does not wait: the journal's own thread writes all new records in one transaction (group commit), and reports how far
the disk has come.

Failures:

===================  ==============================================================================================
the disk is full     records wait in memory and are retried; ``trouble`` says so until a write succeeds
a write or an        ``failure`` is set and nothing is retried: after a failed fsync the kernel may have dropped the
fsync fails          data, and a second fsync that succeeds would be wrong (Rebello et al. 2020, ATC)
a record is damaged  ``read`` raises an error that names the file; a torn tail was never committed and is absent
===================  ==============================================================================================
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ffstream import failpoints
from ffstream.errors import DiskError, JournalError, StateError
from ffstream.stream.disk import flush
from ffstream.stream.records import Advanced, Record, Stepped, decode, encode

log = logging.getLogger(__name__)

PAGE_BYTES = 64 * 2**10
# "ffst", which marks the file as an ffstream journal, and the version of its format.
APPLICATION, FORMAT = 0x66667374, 1
# Seconds by which a transaction is delayed after the last one, so that more records can join it: per record of the last
# one that somebody waited for, and at most. A feeder that waits for each acknowledgement is delayed less than a stream.
GROUP_S, LONGEST_GROUP_S = 0.01, 0.03
# Seconds that steps, which nobody waits for, wait for samples to join them.
STEPS_S = 0.25
# Pages after which SQLite's write-ahead log is copied into the file and restarted.
LOG_PAGES = 256
# Seconds between retries on a full disk, and maximum number of records removed in one transaction.
RETRY_S = 0.5
PRUNED = 256


class Journal:
    """An append-only log on disk.

    Parameters
    ----------
    path
        Its file, created if missing; ``None`` keeps nothing, and every record counts as durable at once.
    quota
        Bytes beyond which ``trouble`` asks for a checkpoint, so that the journal can be pruned.
    progressed
        Called from the journal's thread when ``durable``, ``trouble`` or ``failure`` may have changed.

    Attributes
    ----------
    durable
        The last LSN on disk.
    size
        Bytes of the records on disk, in whole pages.
    written
        Bytes written since it was opened; pruning does not reduce it.
    trouble
        Reason to accept no more records at present; empty when all is well.
    failure
        The error that ended the journal.

    Raises
    ------
    JournalError
        If the file is not a journal that this ffstream can read.
    DiskError
        If the disk is full, or cannot be read.
    StateError
        If the file cannot be opened.
    """

    def __init__(self, path: Path | None, quota: int = 2**62, progressed: Callable[[], object] = lambda: None) -> None:
        self.path = path
        self.quota = quota
        self.durable = self.size = self.written = 0
        self.trouble = ""
        self.failure: Exception | None = None
        self._progressed = progressed
        self._changed = threading.Condition()
        # Rows for the table: LSN, checksum, body.
        self._waiting: list[tuple[int, int, bytes]] = []
        self._prune_below = 0
        self._full = self._closing = False
        # Number of waiting records that somebody waits for, and the earliest time of the next transaction.
        self._awaited = 0
        self._next_at = float("-inf")
        self._db = None if path is None else _open(path)
        if self._db is not None:
            with _named(path):
                self.durable = self._db.execute("SELECT coalesce(max(lsn), 0) FROM record").fetchone()[0]
                self.size = self._measure()
        self._next = self.durable + 1
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, record: Record) -> int:
        """Add a record from any thread, without waiting for the disk; return its LSN."""
        # Encoded here: the journal's thread would compete for the interpreter during a sweep.
        body = b"" if self._db is None else encode(record)
        with self._changed:
            lsn = self._next
            self._next += 1
            if self._db is None:
                self.durable = lsn
            else:
                self._waiting.append((lsn, _crc(lsn, body), body))
                awaited = not isinstance(record, Stepped | Advanced)
                # For later records the thread is already awake, or waiting for more of them.
                if len(self._waiting) == 1 or (awaited and not self._awaited):
                    self._changed.notify_all()
                self._awaited += awaited
            return lsn

    @property
    def behind(self) -> int:
        """Number of records that are not on disk yet."""
        return len(self._waiting)

    def wait(self, lsn: int) -> None:
        """Block until everything up to an LSN is on disk; DiskError if it cannot get there for now."""
        with self._changed:
            self._awaited += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.durable >= lsn or self.failure or self._full)
            if self.durable < lsn:
                raise DiskError(f"not saved: {self.failure or self.trouble}")

    def read(self, first: int) -> Iterator[tuple[int, Record]]:
        """Yield the records from an LSN on; must be exhausted before anything is appended.

        Raises
        ------
        JournalError
            At a record that is damaged or missing; the records before it are intact.
        """
        if self._db is None:
            return
        expected = first
        with _named(self.path):
            for lsn, crc, body in self._db.execute(
                "SELECT lsn, crc, body FROM record WHERE lsn >= ? ORDER BY lsn", (first,)
            ):
                if lsn != expected:
                    raise JournalError(f"{self.path}: records {expected} to {lsn - 1} are missing; {REMEDY}")
                try:
                    if type(body) is not bytes or _crc(lsn, body) != crc:
                        raise JournalError(f"{self.path}: record {lsn} does not match its checksum; {REMEDY}")
                    yield lsn, decode(body)
                except ValueError as error:
                    raise JournalError(f"{self.path}: record {lsn}: {error}") from error
                expected += 1

    def skip_to(self, lsn: int) -> None:
        """Continue above the given LSN, in case the journal that held it was pruned or removed."""
        self._next = max(self._next, lsn + 1)
        self.durable = max(self.durable, lsn)

    def prune(self, below: int) -> None:
        """Remove the records below an LSN when there is time; nothing needs them any more."""
        with self._changed:
            self._prune_below = max(self._prune_below, below)
            self._changed.notify_all()

    def close(self) -> None:
        """Write waiting records, if the disk allows, and stop the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()

    def _run(self) -> None:
        try:
            while self._turn():
                self._progressed()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        self._progressed()

    def _turn(self) -> bool:
        """Write waiting records and prune a little; return True if there will be another turn."""
        with self._changed:
            if self._full:
                self._changed.wait_for(lambda: self._closing, RETRY_S)
            else:
                self._changed.wait_for(lambda: self._waiting or self._prune_below or self._closing)
                self._changed.wait_for(lambda: self._awaited or self._closing, STEPS_S)
                self._changed.wait_for(lambda: self._closing, self._next_at - time.monotonic())
            waiting, below, closing = list(self._waiting), self._prune_below, self._closing
            awaited, self._awaited = self._awaited, 0
        try:
            self._write(waiting)
            self._prune(below)
        except (sqlite3.Error, OSError) as error:
            if not _is_full(error):
                raise
            self._full = True
            self._settle(0, f"{self.path}: the disk is full; free some space, and everything continues by itself")
            return not closing
        self._full = False
        self._next_at = time.monotonic() + min(GROUP_S * awaited, LONGEST_GROUP_S)
        over = f"{self.path}: {self.size} bytes, state.journal_bytes is {self.quota}; a checkpoint will make room"
        self._settle(len(waiting), over if self.size > self.quota else "")
        return bool(waiting) or not closing

    def _write(self, records: list[tuple[int, int, bytes]]) -> None:
        if self._db is None or not records:
            return
        failpoints.reach("journal.write")
        with _transaction(self._db):
            self._db.executemany("INSERT INTO record (lsn, crc, body) VALUES (?, ?, ?)", records)
            failpoints.reach("journal.commit")
        failpoints.reach("journal.committed")
        self.written += sum(len(body) for _, _, body in records)

    def _prune(self, below: int) -> None:
        if self._db is None or not below:
            return
        (oldest,) = self._db.execute("SELECT min(lsn) FROM record").fetchone()
        if oldest is not None and oldest < below:
            with _transaction(self._db):
                self._db.execute("DELETE FROM record WHERE lsn < ?", (min(below, oldest + PRUNED),))
            return
        with self._changed:
            if self._prune_below == below:
                self._prune_below = 0

    def _settle(self, written: int, trouble: str) -> None:
        size = self._measure()
        if trouble != self.trouble:
            (log.error if trouble else log.info)("journal: %s", trouble or "works again")
        with self._changed:
            if written:
                self.durable = self._waiting[written - 1][0]
                del self._waiting[:written]
            self.size, self.trouble = size, trouble
            self._changed.notify_all()

    def _measure(self) -> int:
        if self._db is None:
            return 0
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        return int(pages - free) * PAGE_BYTES

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self.failure = DiskError(f"{self.path}: {error}; only what was on disk before is acknowledged")
            self._changed.notify_all()


REMEDY = (
    "restore the file and its -wal from a copy, or move them aside to continue from the newest checkpoint without "
    "the samples acknowledged after it"
)


def _open(path: Path) -> sqlite3.Connection:
    with _named(path), contextlib.ExitStack() as undo:
        if not path.exists():
            _create(path)
        # One connection, passed from the thread that replays to the journal's own.
        db = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        undo.callback(db.close)
        # The state directory is locked for one daemon, so SQLite needs no shared-memory file, which a full disk breaks.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        marks = tuple(db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if marks != (APPLICATION, FORMAT):
            raise JournalError(f"{path}: is not a journal of format {FORMAT}; {REMEDY}")
        db.execute("SELECT max(lsn) FROM record").fetchone()
        undo.pop_all()
        return db


def _create(path: Path) -> None:
    """Create an empty journal, whole or not at all: an existing file that is no journal counts as damaged."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    db = sqlite3.connect(unfinished, isolation_level=None)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    db.execute("CREATE TABLE record (lsn INTEGER PRIMARY KEY, crc INTEGER NOT NULL, body BLOB NOT NULL)")
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    flush(unfinished)
    unfinished.rename(path)
    flush(path.parent)


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back by itself already.
        if db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _named(path: Path | None) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        if (code := _code(error)) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise DiskError(f"{path}: {error}; check the disk") from error
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            raise StateError(f"{path}: {error}; make the file and its folder writable") from error
        # SQLite's error message may quote the damaged bytes, which Python cannot decode.
        raise JournalError(f"{path}: {error}; {REMEDY}") from error
    except OSError as error:
        raise StateError.of(error, f"{path}: {error.strerror}") from error


def _crc(lsn: int, body: bytes) -> int:
    return zlib.crc32(body, lsn & 0xFFFFFFFF)


def _is_full(error: Exception) -> bool:
    return _code(error) == sqlite3.SQLITE_FULL or (isinstance(error, OSError) and error.errno == errno.ENOSPC)


def _code(error: Exception) -> int:
    """Return the primary result code of a SQLite error, the lower byte of its code; 0 for other errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
