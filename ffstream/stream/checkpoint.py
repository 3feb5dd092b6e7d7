"""Durable state on disk: a folder a checkpoint, written whole or not at all.

Layout::

    directory/
      checkpoint-000000012345/     the number is the model version; -1 follows it if it is saved again
        manifest.json              format, configuration, counters, SHA-256 of the files of tensors
        manifest.sha256            SHA-256 of the manifest
        network.safetensors        weights, optimizer state, assemblies
        memory.safetensors         what was seen, for sleep
      damaged-…                    a checkpoint that did not verify, set aside

A checkpoint is written into a temporary folder, flushed to the disk, and renamed; the rename is flushed as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load, save
from torch import Tensor

from ffstream.errors import CheckpointError, StateError

FORMAT = 1
_PREFIX, _DAMAGED, _PARTIAL = "checkpoint-", "damaged-", ".partial-"
_NAME = re.compile(_PREFIX + r"\d{12}(-[1-9]\d*)?")

Tensors = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Snapshot:
    """Everything that goes on after a restart.

    Attributes
    ----------
    version
        Model version.
    manifest
        What JSON can hold: configuration, counters, scheduler, scores.
    tensors
        Files by name (without ``.safetensors``), each a map of tensors by name, on the CPU.
    """

    version: int
    manifest: Mapping[str, Any]
    tensors: Tensors


class CheckpointStore:
    """The checkpoints under one directory.

    Parameters
    ----------
    directory
        Folder of the checkpoints; must exist.
    keep
        Checkpoints kept; older ones are removed after a newer one is safe.
    """

    def __init__(self, directory: Path, keep: int) -> None:
        self.directory = directory
        self.keep = keep

    def save(self, snapshot: Snapshot) -> str:
        """Write a checkpoint and return its name.

        Raises
        ------
        CheckpointError
            If a weight is not finite: the checkpoint would poison every restart.
        StateError
            If the disk refuses.
        """
        for file, tensors in snapshot.tensors.items():
            for name, tensor in tensors.items():
                if tensor.is_floating_point() and not tensor.isfinite().all():
                    raise CheckpointError(f"not saved: {file}.{name} is not finite; restore an older checkpoint")
        try:
            name = self._fresh_name(snapshot.version)
            partial = self.directory / f"{_PARTIAL}{name}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            digests = {
                f"{file}.safetensors": _write(partial / f"{file}.safetensors", save(dict(tensors)))
                for file, tensors in snapshot.tensors.items()
            }
            manifest = {"format": FORMAT, "version": snapshot.version, **snapshot.manifest, "sha256": digests}
            digest = _write(partial / "manifest.json", json.dumps(manifest, indent=1).encode())
            _write(partial / "manifest.sha256", digest.encode())
            _flush(partial)
            partial.rename(self.directory / name)
            _flush(self.directory)
            self._prune(name)
        except OSError as error:
            raise StateError(f"not saved: {error.strerror}: {error.filename or self.directory}") from error
        return name

    def newest(self) -> tuple[Snapshot | None, list[str]]:
        """Return the newest checkpoint that verifies, and why each newer one was set aside."""
        damaged: list[str] = []
        for name in reversed(self._names()):
            try:
                return _read(self.directory / name), damaged
            except CheckpointError as error:
                damaged.append(str(error))
                (self.directory / name).rename(self._free_name(_DAMAGED + name))
        return None, damaged

    def kept(self) -> list[Mapping[str, Any]]:
        """Placeholder."""
        return [_read(self.directory / name).manifest for name in self._names()]

    def read(self, name: str) -> Snapshot:
        """Placeholder."""
        return _read(self.directory / name)

    def _fresh_name(self, version: int) -> str:
        """Name a checkpoint; one of the same version is not replaced, but followed until this one is safe."""
        name = f"{_PREFIX}{version:012d}"
        same = [number for saved, number in map(_parse, self._names()) if saved == version]
        return f"{name}-{max(same) + 1}" if same else name

    def _prune(self, newest: str) -> None:
        """Keep the newest versions, one checkpoint each, and nothing that a crash left half written."""
        versions = sorted({_parse(name)[0] for name in self._names()})[-self.keep :]
        for name in self._names():
            version, _ = _parse(name)
            if version not in versions or (version == _parse(newest)[0] and name != newest):
                shutil.rmtree(self.directory / name)
        for partial in self.directory.glob(f"{_PARTIAL}*"):
            shutil.rmtree(partial)

    def _names(self) -> list[str]:
        """Return the names of the checkpoints, oldest first; what else lies in the folder is not ours."""
        names = [
            path.name for path in self.directory.glob(f"{_PREFIX}*") if _NAME.fullmatch(path.name) and path.is_dir()
        ]
        return sorted(names, key=_parse)

    def _free_name(self, name: str) -> Path:
        path, count = self.directory / name, 1
        while path.exists():
            path, count = self.directory / f"{name}.{count}", count + 1
        return path


def _parse(name: str) -> tuple[int, int]:
    version, _, number = name.removeprefix(_PREFIX).partition("-")
    return int(version), int(number or 0)


def _read(folder: Path) -> Snapshot:
    try:
        written = (folder / "manifest.json").read_bytes()
        if hashlib.sha256(written).hexdigest().encode() != (folder / "manifest.sha256").read_bytes():
            raise CheckpointError(f"{folder.name}: manifest.json does not have the SHA-256 of manifest.sha256")
        manifest = json.loads(written)
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{folder.name}: format {manifest['format']}, this ffstream reads {FORMAT}")
        tensors: dict[str, dict[str, Tensor]] = {}
        for file, digest in manifest["sha256"].items():
            content = (folder / file).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                raise CheckpointError(f"{folder.name}: {file} does not have the SHA-256 that the manifest names")
            tensors[file.removesuffix(".safetensors")] = load(content)
        return Snapshot(manifest["version"], manifest, tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{folder.name}: {type(error).__name__}: {error}") from error


def _write(path: Path, content: bytes) -> str:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
