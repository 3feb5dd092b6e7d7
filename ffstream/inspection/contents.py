"""Contents of a state directory, and of one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ffstream.errors import CheckpointError, StateError
from ffstream.stream import snapshot as folders
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.snapshot import MANIFEST, Snapshot

# Keys of a manifest that describe the network and how it learns, without its counters.
CONFIGURATION = ("network", "optimizer", "dreams")


def store_of(directory: Path) -> CheckpointStore:
    """Return the checkpoint store of a directory, for reading.

    Raises
    ------
    StateError
        If the directory does not exist.
    """
    if not directory.is_dir():
        raise StateError(f"{directory}: no such directory; give the state.directory of a daemon")
    return CheckpointStore(directory, keep=1)


def snapshot_at(path: Path) -> tuple[str, Snapshot]:
    """Return the name and content of a checkpoint: the folder itself, or the newest one of a state directory.

    Raises
    ------
    CheckpointError
        If there is no checkpoint, or the one to read is damaged.
    StateError
        If the directory does not exist, or the checkpoint has another format or cannot be read from disk.
    """
    if (path / MANIFEST).exists():
        return path.resolve().name, folders.read(path)
    store = store_of(path)
    entries = store.listing()
    if not entries:
        raise CheckpointError(
            f"{path}: no checkpoint yet; a daemon saves one when it stops, or at once with ffstream ctl checkpoint"
        )
    newest = store.entry(entries[-1].name)
    return newest.name, folders.read(path / newest.name)


def of_directory(store: CheckpointStore) -> dict[str, Any]:
    """Return the checkpoints, newest first, and the sizes in bytes of all other entries by name."""
    entries = store.listing()[::-1]
    checkpoints = {entry.name for entry in entries}
    others = sorted(path for path in store.directory.iterdir() if path.name not in checkpoints)
    return {
        "directory": str(store.directory),
        "checkpoints": [entry.facts() for entry in entries],
        "others": {path.name: _size(path) for path in others},
    }


def of_checkpoint(store: CheckpointStore, name: str) -> tuple[dict[str, Any], Snapshot]:
    """Return the contents of a checkpoint as plain types, and the checkpoint itself, with every byte verified.

    Raises
    ------
    CheckpointError
        If there is no checkpoint of that name, or it is damaged.
    StateError
        If it has another format, or cannot be read from disk.
    """
    entry = store.entry(name)
    snapshot = folders.read(store.directory / name)
    manifest = snapshot.manifest
    told = {
        "checkpoint": entry.facts(),
        "configuration": {key: manifest.get(key) for key in CONFIGURATION},
        "counters": {
            "phase_steps": manifest.get("phase_steps"),
            "memory_seen": manifest.get("memory_seen"),
            "scheduler": manifest.get("scheduler"),
            "progress": manifest.get("progress"),
        },
        "tensors": _tensors(snapshot),
    }
    return told, snapshot


def _tensors(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return shape, dtype and Frobenius norm of every tensor, and whether all its values are finite."""
    return [
        {
            "tensor": f"{file}.{name}",
            "shape": [*tensor.shape],
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "norm": float(tensor.double().norm()),
            "finite": bool(tensor.isfinite().all()),
        }
        for file, tensors in snapshot.tensors.items()
        for name, tensor in sorted(tensors.items())
    ]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files)
