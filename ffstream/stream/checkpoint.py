"""The checkpoints of a state directory: one folder each, written whole or not at all.

Every checkpoint has a serial, one more than the highest before it. Checkpoints are ordered by serial, not by version:
after a rollback the newest one has a lower version than older ones. A checkpoint is named by its serial
(``checkpoint-000042``) or by a name that a person gave it, which pins it; pinned checkpoints are never removed.

A checkpoint is written to a temporary folder, flushed to disk, and renamed; the rename is flushed as well. A checkpoint
that does not verify when it is needed is set aside under ``damaged-…``. Symlinks and plain files that are named like a
checkpoint are ignored, as is everything else in the directory.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ffstream import failpoints
from ffstream.errors import CheckpointError, StateError
from ffstream.stream import snapshot as folders
from ffstream.stream.disk import flush
from ffstream.stream.snapshot import DIGEST, MANIFEST, PINNED, PREFIX, SERIAL, Entry, Snapshot

log = logging.getLogger(__name__)

_DAMAGED, _PARTIAL = "damaged-", ".partial-"
_NUMBERED = re.compile(rf"({_DAMAGED})?{PREFIX}(\d{{6,18}})(\.\d+)?")
_GIVEN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# The journal creates and removes files under its own name at any time; the daemon may create its other files later.
_RESERVED = (PREFIX, _DAMAGED, "journal.", "kernels", "products.", "quarantine-")


class CheckpointStore:
    """The checkpoints under one directory.

    Parameters
    ----------
    directory
        Folder of the checkpoints; must exist.
    keep
        Number of unpinned checkpoints to keep; older ones are removed once a newer one is safe.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory = directory
        self.keep = keep

    def save(self, snapshot: Snapshot, name: str = "") -> str:
        """Write a checkpoint and return its name.

        Parameters
        ----------
        snapshot
            The snapshot to write.
        name
            A given name, which pins it; by default the checkpoint is named by its serial.

        Raises
        ------
        CheckpointError
            If a weight is not finite, since the checkpoint would poison every restart, or if the name is taken or
            invalid.
        StateError
            If the disk reports an error.
        """
        if wrong := folders.not_finite(snapshot):
            raise CheckpointError(f"not saved: {wrong} is not finite; go back to an older checkpoint")
        if name:
            self._check_new(name)
        serial = self._next_serial()
        folder = self.directory / (name or f"{PREFIX}{serial:06d}")
        partial = self.directory / f"{_PARTIAL}{folder.name}"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            folders.write(partial, snapshot, folder.name, serial, time.time(), pinned=bool(name))
            failpoints.reach("checkpoint.rename")
            partial.rename(folder)
            failpoints.reach("checkpoint.parent")
            flush(self.directory)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise StateError.of(error, f"not saved: {error.strerror}: {error.filename or self.directory}") from error
        self._prune()
        return folder.name

    def read(self, name: str) -> Snapshot:
        """Read a checkpoint and verify every byte of it.

        Raises
        ------
        CheckpointError
            If there is no checkpoint of that name, or it is damaged.
        StateError
            If it has another format, or the disk reports an error.
        """
        return self._whole(self.entry(name).name)

    def newest(self) -> tuple[Snapshot | None, list[str]]:
        """Return the newest checkpoint that verifies, and the reason why each newer one was set aside.

        Raises
        ------
        StateError
            If one has another format, or the disk reports an error: it is not damaged, so it is not skipped.
        """
        damaged: list[str] = []
        for entry in reversed(self.listing()):
            try:
                return self._whole(entry.name), damaged
            except CheckpointError as error:
                damaged.append(str(error))
                log.warning("checkpoint is damaged and set aside: %s", error)
                self._set_aside(entry.name)
        return None, damaged

    def listing(self) -> list[Entry]:
        """Return the checkpoints, oldest first; one without a known serial counts as the newest."""
        entries = [entry for name in self._folders() if (entry := folders.look(self.directory / name)) is not None]
        return sorted(entries, key=lambda entry: (entry.serial or math.inf, entry.name))

    def entry(self, name: str) -> Entry:
        """Return the entry of a checkpoint; CheckpointError if there is none or its manifest is damaged."""
        entry = folders.look(self.directory / name) if name in self._folders() else None
        if entry is None:
            there = ", ".join(entry.name for entry in reversed(self.listing()[-10:])) or "none"
            raise CheckpointError(f"no checkpoint is called {name!r}; the newest are: {there}")
        if entry.error:
            raise CheckpointError(entry.error)
        return entry

    def kept(self) -> list[Mapping[str, Any]]:
        """Return the manifests, oldest first, of the checkpoints that a restart may have to start from.

        These are the newest ``keep`` unpinned ones, or, if all are pinned, the newest one.
        """
        whole = [entry for entry in self.listing() if not entry.error]
        unpinned = [entry for entry in whole if not entry.pinned]
        return [entry.manifest for entry in unpinned[-self.keep :] or whole[-1:]]

    def pin(self, name: str) -> None:
        """Protect a checkpoint from removal; raises as ``read`` does."""
        folder = self.directory / self.entry(name).name
        try:
            (folder / PINNED).touch()
            flush(folder / PINNED)
            flush(folder)
        except OSError as error:
            raise StateError.of(error, f"{name} is not pinned: {error.strerror}: {folder / PINNED}") from error

    def unpin(self, name: str) -> None:
        """Allow the removal of a checkpoint when it is old; raises as ``read`` does, and for a person's copy."""
        entry = self.entry(name)
        if entry.copied:
            raise CheckpointError(
                f"{name} is a copy of {entry.manifest['name']} and always kept; delete its folder instead"
            )
        folder = self.directory / name
        try:
            (folder / PINNED).unlink(missing_ok=True)
            flush(folder)
        except OSError as error:
            raise StateError.of(error, f"{name} is still pinned: {error.strerror}: {folder / PINNED}") from error

    def _whole(self, name: str) -> Snapshot:
        snapshot = folders.read(self.directory / name)
        if wrong := folders.not_finite(snapshot):
            raise CheckpointError(f"{name}: {wrong} is not finite")
        return snapshot

    def _check_new(self, name: str) -> None:
        if not _GIVEN.fullmatch(name) or name.startswith(_RESERVED):
            raise CheckpointError(
                f"not saved: {name!r} cannot be a name; use 1 to 64 of a-z 0-9 . _ -, beginning with a letter or a "
                f"digit, but not with {', '.join(_RESERVED)}"
            )
        if os.path.lexists(self.directory / name):
            raise CheckpointError(f"not saved: the name {name!r} is taken in {self.directory}; choose another")

    def _next_serial(self) -> int:
        """Return one more than the highest serial, including damaged checkpoints whose names contain a serial."""
        named = [int(match[2]) for name in self._names() if (match := _NUMBERED.fullmatch(name))]
        return 1 + max([0, *named, *(entry.serial for entry in self.listing())])

    def _prune(self) -> None:
        """Remove old unpinned checkpoints, and what a crash left half written."""
        removable = [entry.name for entry in self.listing() if not entry.pinned and not entry.error][: -self.keep]
        try:
            for name in self._names():
                if name.startswith(_PARTIAL):
                    shutil.rmtree(self.directory / name)
            for name in removable:
                # Renamed first: what a crash leaves must not look like a damaged checkpoint.
                shutil.rmtree((self.directory / name).rename(self.directory / f"{_PARTIAL}{name}"))
        except OSError as error:
            log.warning("old checkpoints cannot be removed: %s: %s", error.strerror, error.filename)

    def _set_aside(self, name: str) -> None:
        path, count = self.directory / f"{_DAMAGED}{name}", 1
        while os.path.lexists(path):
            path, count = self.directory / f"{_DAMAGED}{name}.{count}", count + 1
        try:
            (self.directory / name).rename(path)
        except OSError as error:
            raise StateError.of(
                error, f"{name} is damaged but cannot be set aside: {error.strerror}: {path}"
            ) from error

    def _folders(self) -> list[str]:
        """Return the names of the checkpoints."""
        return [name for name in self._names() if self._is_checkpoint(name)]

    def _is_checkpoint(self, name: str) -> bool:
        folder = self.directory / name
        if not folder.is_dir() or folder.is_symlink():
            return False
        if SERIAL.fullmatch(name):
            return True
        # A folder with another valid name is a checkpoint if it has a manifest or its digest.
        given = _GIVEN.fullmatch(name) and not name.startswith(_RESERVED)
        return bool(given) and any((folder / file).exists() for file in (MANIFEST, DIGEST))

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StateError.of(error, f"{self.directory} cannot be read: {error.strerror}; check the disk") from error
