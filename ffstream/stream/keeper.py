"""The one owner of the checkpoints: it writes, reads and lists them in a thread, so that learning waits for no disk.

Jobs are done one after another, so what is read is read after every write that was asked for before.
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

# What a reply lists at most, so that it fits a header; and characters of an error in it.
LISTED, SHOWN = 64, 200

_T = TypeVar("_T")


class Keeper:
    """Keeps the checkpoints.

    Parameters
    ----------
    store
        Where they lie.
    journal
        A checkpoint is published when the records that it stands on are on disk, and the journal pruned behind it.
    outbox
        Told of every checkpoint, saved or failed.
    lsn
        The record that the newest checkpoint stands on; -1 where there is no checkpoint.

    Attributes
    ----------
    lsn
        The same as of now.
    taken_at
        ``time.monotonic()`` at which the last checkpoint's content was copied.
    reaches
        The first record that the checkpoints kept need; 0 as long as the journal must keep what it has.
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
        """Write a snapshot that stands on the records up to an LSN; the future gives the checkpoint's name."""
        saved = self._thread.submit(self._publish, snapshot, lsn, name, time.monotonic())
        saved.add_done_callback(lambda saved: self._announce(saved, snapshot.version))
        return saved

    def written(self, lsn: int) -> Future[None]:
        """Return a future that is done when the records up to an LSN are on disk; StateError if the disk is full."""
        return self._thread.submit(self.journal.wait, lsn)

    def fetch(self, name: str, check: Callable[[Snapshot], Any]) -> Future[Snapshot]:
        """Read a checkpoint, ``check`` whether it fits, and pin it; the future raises CheckpointError."""
        return self._thread.submit(self._fetch, name, check)

    def listing(self) -> Future[dict[str, Any]]:
        """List the checkpoints, newest first, as the command ``checkpoints`` replies."""
        return self._thread.submit(self._list)

    def pin(self, name: str, *, pinned: bool) -> Future[dict[str, Any]]:
        """Pin or unpin a checkpoint; the future raises as ``CheckpointStore.pin`` and ``unpin`` do."""
        return self._thread.submit(self._pin, name, pinned=pinned)

    def close(self) -> None:
        """Finish what was asked for."""
        self._thread.shutdown()

    def _publish(self, snapshot: Snapshot, lsn: int, name: str, taken_at: float) -> str:
        self.journal.wait(lsn)
        name = self.store.save(snapshot, name)
        self.lsn, self.taken_at = lsn, taken_at
        kept = self.store.kept()
        # While there are fewer than are to be kept, the journal's beginning stands in for those that are missing.
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
    """Reply to a command with some fields of what a future gives, or with its error."""

    def resolve(done: Future[_T]) -> None:
        error = done.exception()
        if error is None:
            command.reply.set_result(fields(done.result()))
        else:
            command.reply.set_exception(error)

    done.add_done_callback(resolve)
