"""The only owner of the checkpoints: writes, reads and lists them in a thread, so that learning waits for no disk.

Jobs run one after another, so a read comes after every write that was requested before it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ffstream.errors import CheckpointError, StateError
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.inbox import Command
from ffstream.stream.journal import Journal
from ffstream.stream.outbox import Outbox, Saved
from ffstream.stream.progress import first_needed
from ffstream.stream.snapshot import Snapshot

log = logging.getLogger(__name__)

# Maximum number of checkpoints in a reply, so that it fits a header; and of characters of an error in it.
LISTED, SHOWN = 64, 200

_T = TypeVar("_T")


class Keeper:
    """Keeps the checkpoints.

    Parameters
    ----------
    store
        Store of the checkpoints.
    journal
        A checkpoint is published once the records that it covers are on disk, and the journal is then pruned.
    outbox
        Gets a message for every checkpoint, saved or failed.
    lsn
        Last record that the newest checkpoint covers; -1 if there is no checkpoint.

    Attributes
    ----------
    lsn
        The same, kept up to date.
    taken_at
        ``time.monotonic()`` when the last checkpoint's content was copied.
    reaches
        First record that the kept checkpoints need; 0 while the journal must keep all its records.
    """

    def __init__(self, store: CheckpointStore, journal: Journal, outbox: Outbox, lsn: int = -1) -> None:
        self.store = store
        self.journal = journal
        self.outbox = outbox
        self.lsn = lsn
        self.taken_at = float("-inf")
        self.reaches = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")

    def save(self, snapshot: Snapshot, lsn: int, name: str = "") -> Future[str]:
        """Write a snapshot that covers the records up to an LSN; the future gives the checkpoint's name."""
        saved = self._thread.submit(self._publish, snapshot, lsn, name, time.monotonic())
        saved.add_done_callback(lambda saved: self._announce(saved, snapshot.version))
        return saved

    def written(self, lsn: int) -> Future[None]:
        """Return a future that is done when the records up to an LSN are on disk; raises as ``Journal.wait`` does."""
        return self._thread.submit(self.journal.wait, lsn)

    def fetch(self, name: str, check: Callable[[Snapshot], Any]) -> Future[Snapshot]:
        """Read a checkpoint, ``check`` it, and pin it; the future raises CheckpointError."""
        return self._thread.submit(self._fetch, name, check)

    def listing(self) -> Future[dict[str, Any]]:
        """List the checkpoints, newest first, as in the reply to the command ``checkpoints``."""
        return self._thread.submit(self._list)

    def pin(self, name: str, *, pinned: bool) -> Future[dict[str, Any]]:
        """Pin or unpin a checkpoint; the future raises as ``CheckpointStore.pin`` and ``unpin`` do."""
        return self._thread.submit(self._pin, name, pinned=pinned)

    def close(self) -> None:
        """Finish all requested jobs, and stop the thread."""
        self._thread.shutdown()

    def _publish(self, snapshot: Snapshot, lsn: int, name: str, taken_at: float) -> str:
        self.journal.wait(lsn)
        name = self.store.save(snapshot, name)
        self.lsn, self.taken_at = lsn, taken_at
        kept = self.store.kept()
        # While there are fewer checkpoints than ``keep``, the start of the journal replaces the missing ones.
        if len(kept) >= self.store.keep:
            self.reaches = min(first_needed(manifest["progress"]) for manifest in kept)
            self.journal.prune(self.reaches)
        return name

    def _fetch(self, name: str, check: Callable[[Snapshot], Any]) -> Snapshot:
        try:
            snapshot = self.store.read(name)
            check(snapshot)
        except StateError as error:
            raise CheckpointError(f"not rolled back: {name}: {error}") from error
        self.store.pin(name)
        return snapshot

    def _list(self) -> dict[str, Any]:
        entries = self.store.listing()[::-1]
        facts = [{**entry.facts(), "error": entry.error[:SHOWN]} for entry in entries[:LISTED]]
        return {"checkpoints": facts, "omitted": len(entries) - len(facts)}

    def _pin(self, name: str, *, pinned: bool) -> dict[str, Any]:
        (self.store.pin if pinned else self.store.unpin)(name)
        return {"checkpoint": name, "pinned": pinned}

    def _announce(self, saved: Future[str], version: int) -> None:
        error = saved.exception()
        if error is None:
            self.outbox.post(Saved(version, name=saved.result()))
        else:
            log.error("checkpoint: %s", error)
            self.outbox.post(Saved(version, error=str(error)))


def reply_with(command: Command, done: Future[_T], fields: Callable[[_T], dict[str, Any]]) -> None:
    """Reply to a command with fields made from a future's result, or with its error."""

    def resolve(done: Future[_T]) -> None:
        error = done.exception()
        if error is None:
            command.reply.set_result(fields(done.result()))
        else:
            command.reply.set_exception(error)

    done.add_done_callback(resolve)
