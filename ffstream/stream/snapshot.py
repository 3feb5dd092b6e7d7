"""Snapshots: all state that survives a restart, and its layout on disk, one folder each.

Layout::

    checkpoint-000042/           its serial, or a name that a person gave
      manifest.json              format, serial, configuration, counters, SHA-256 of the tensor files
      manifest.sha256            SHA-256 of the manifest
      network.safetensors        weights, optimizer state, assemblies
      memory.safetensors         remembered samples, for sleep
      pinned                     present if the checkpoint must never be removed
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load, save
from torch import Tensor

from ffstream import failpoints
from ffstream.errors import CheckpointError, StateError
from ffstream.stream.disk import flush

FORMAT = 2
PREFIX = "checkpoint-"
SERIAL = re.compile(PREFIX + r"(\d{6,18})")
MANIFEST, DIGEST, PINNED = "manifest.json", "manifest.sha256", "pinned"

Tensors = Mapping[str, Mapping[str, Tensor]]
# Errors raised by reading an incomplete or damaged checkpoint; any other error of the disk is not damage.
_DAMAGE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True)
class Snapshot:
    """All state that survives a restart.

    Attributes
    ----------
    version
        Model version.
    manifest
        JSON-compatible state: configuration, counters, scheduler, scores.
    tensors
        Tensors on the CPU, by file name (without ``.safetensors``) and then by tensor name.
    """

    version: int
    manifest: Mapping[str, Any]
    tensors: Tensors


@dataclass(frozen=True)
class Entry:
    """One checkpoint in a listing.

    Attributes
    ----------
    name
        Name of its folder.
    bytes
        Size of its files.
    marked
        True if it has been pinned.
    manifest
        Its verified manifest (the tensors are not verified); empty if it did not verify.
    error
        Reason why the manifest did not verify, or ``""``.
    """

    name: str
    bytes: int
    marked: bool
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    error: str = ""

    @property
    def serial(self) -> int:
        """Position in the order of checkpoints; 0 if neither manifest nor name gives it."""
        named = SERIAL.fullmatch(self.name)
        serial: int = self.manifest.get("serial", int(named[1]) if named else 0)
        return serial

    @property
    def copied(self) -> bool:
        """True if the folder is not named as it was saved, because a person copied or renamed it."""
        return bool(self.manifest) and self.name != self.manifest["name"]

    @property
    def pinned(self) -> bool:
        """True if it is never removed; a person's copy belongs to that person."""
        return self.marked or self.copied

    def facts(self) -> dict[str, Any]:
        """Return the facts for a listing, in plain types; zeros and NaN where they are unknown."""
        scores = self.manifest.get("prequential", {})
        return {
            "name": self.name,
            "serial": self.serial,
            "version": self.manifest.get("version", 0),
            "saved_at": self.manifest.get("saved_at", 0.0),
            "samples_learned": self.manifest.get("samples_learned", 0),
            "prequential": scores["correct"] / scores["count"] if scores.get("count") else math.nan,
            "bytes": self.bytes,
            "pinned": self.pinned,
            "error": self.error,
        }


def write(folder: Path, snapshot: Snapshot, name: str, serial: int, saved_at: float, *, pinned: bool) -> None:
    """Write a snapshot to a new folder, and flush every file and the folder to disk.

    ``name`` is the folder's name once it is whole, ``saved_at`` is Unix time in seconds.

    Raises
    ------
    OSError
        If the disk reports an error.
    """
    folder.mkdir()
    digests = {
        f"{file}.safetensors": _write(folder / f"{file}.safetensors", save(dict(tensors)))
        for file, tensors in snapshot.tensors.items()
    }
    manifest = {
        **snapshot.manifest,
        "format": FORMAT,
        "name": name,
        "serial": serial,
        "version": snapshot.version,
        "saved_at": saved_at,
        "sha256": digests,
    }
    digest = _write(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    _write(folder / DIGEST, digest.encode())
    if pinned:
        _write(folder / PINNED, b"")
    flush(folder)


def read(folder: Path) -> Snapshot:
    """Read a folder and verify every byte of it.

    Raises
    ------
    CheckpointError
        If it is damaged; the message names the folder and the file.
    StateError
        If it is intact but has another format, or the disk reports an error: neither means that it is damaged.
    """
    manifest = read_manifest(folder)
    tensors: dict[str, dict[str, Tensor]] = {}
    for file, digest in manifest["sha256"].items():
        content = _read(folder / file)
        if hashlib.sha256(content).hexdigest() != digest:
            raise CheckpointError(f"{folder.name}: {file} does not match the SHA-256 in the manifest")
        try:
            tensors[file.removesuffix(".safetensors")] = load(content)
        except (safetensors.SafetensorError, *_DAMAGE) as error:
            raise CheckpointError(f"{folder.name}: {file}: {type(error).__name__}: {error}") from error
    return Snapshot(manifest["version"], manifest, tensors)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and verify only the manifest; raises as ``read`` does."""
    written, digest = _read(folder / MANIFEST), _read(folder / DIGEST)
    if hashlib.sha256(written).hexdigest().encode() != digest:
        raise CheckpointError(f"{folder.name}: {MANIFEST} does not match the SHA-256 in {DIGEST}")
    try:
        manifest: dict[str, Any] = json.loads(written)
        if manifest["format"] != FORMAT:
            raise StateError(
                f"{folder.name}: has format {manifest['format']}, but this ffstream reads {FORMAT}; "
                "start the ffstream that wrote it, or set state.directory to an empty folder"
            )
        if not (
            manifest["serial"] > 0 and manifest["version"] >= 0 and manifest["saved_at"] >= 0 < len(manifest["name"])
        ):
            raise ValueError("serial, version, time or name is out of range")
        if foreign := [file for file, _ in manifest["sha256"].items() if Path(file).name != file]:
            raise ValueError(f"{foreign[0]!r} is not a file of the folder")
    except _DAMAGE as error:
        raise CheckpointError(f"{folder.name}: {MANIFEST}: {type(error).__name__}: {error}") from error
    return manifest


def look(folder: Path) -> Entry | None:
    """Return the entry of a folder, or None if it does not exist (any more)."""
    try:
        size = sum(path.lstat().st_size for path in folder.iterdir())
        marked = (folder / PINNED).exists()
    except FileNotFoundError:
        return None
    except OSError as error:
        return Entry(folder.name, 0, marked=False, error=f"{folder.name}: cannot be read: {error.strerror}")
    try:
        return Entry(folder.name, size, marked, read_manifest(folder))
    except StateError as error:
        return Entry(folder.name, size, marked, error=str(error)) if folder.is_dir() else None


def not_finite(snapshot: Snapshot) -> str:
    """Return the name of the first tensor with an infinite or NaN value, or ``""``."""
    for file, tensors in snapshot.tensors.items():
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                return f"{file}.{name}"
    return ""


def _write(path: Path, content: bytes) -> str:
    """Write a file, flush it to disk, and return its SHA-256."""
    failpoints.reach("checkpoint.write")
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        failpoints.reach("checkpoint.fsync")
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise CheckpointError(f"{path.parent.name}: {path.name}: {error.strerror}") from error
    except OSError as error:
        raise StateError.of(
            error, f"{path.parent.name}: {path.name} cannot be read: {error.strerror}; check the disk"
        ) from error
