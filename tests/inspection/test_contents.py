from __future__ import annotations

import pytest
import torch

from ffstream.errors import CheckpointError, StateError
from ffstream.inspection.contents import of_checkpoint, of_directory, store_of
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.snapshot import Snapshot


def make_snapshot(value=2.0):
    return Snapshot(3, {"samples_learned": 7}, {"network": {"b": torch.full((2, 2), value), "a": torch.tensor(1)}})


@pytest.fixture
def directory(tmp_path):
    store = CheckpointStore(tmp_path, keep=3)
    store.save(make_snapshot(), "first")
    store.save(make_snapshot())
    return tmp_path


def test_a_directory_is_told_newest_first_with_what_lies_beside(directory):
    (directory / "lock").write_bytes(b"abc")
    (directory / "damaged-x").mkdir()
    (directory / "damaged-x" / "manifest.json").write_bytes(b"12345")
    found = of_directory(store_of(directory))
    assert [one["name"] for one in found["checkpoints"]] == ["checkpoint-000002", "first"]
    assert found["others"] == {"damaged-x": 5, "lock": 3}


def test_a_checkpoint_is_told_tensor_by_tensor(directory):
    found, snapshot = of_checkpoint(store_of(directory), "first")
    assert (found["checkpoint"]["version"], found["checkpoint"]["pinned"], snapshot.version) == (3, True, 3)
    assert found["tensors"] == [
        {"tensor": "network.a", "shape": [], "dtype": "int64", "norm": 1.0, "finite": True},
        {"tensor": "network.b", "shape": [2, 2], "dtype": "float32", "norm": 4.0, "finite": True},
    ]


def test_a_tensor_that_is_not_finite_is_shown_and_not_hidden(directory, monkeypatch):
    monkeypatch.setattr("ffstream.stream.snapshot.not_finite", lambda snapshot: "")
    name = CheckpointStore(directory, keep=3).save(make_snapshot(float("inf")))
    monkeypatch.undo()
    found, _ = of_checkpoint(store_of(directory), name)
    assert [one["finite"] for one in found["tensors"]] == [True, False]


def test_a_damaged_checkpoint_is_refused_by_its_file(directory):
    (directory / "first" / "network.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"first: network\.safetensors"):
        of_checkpoint(store_of(directory), "first")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StateError, match="missing: no such directory"):
        store_of(tmp_path / "missing")


def test_looking_changes_nothing(directory):
    def state():
        return sorted((str(path), path.stat().st_mtime_ns) for path in directory.rglob("*"))

    before = state()
    of_directory(store_of(directory))
    of_checkpoint(store_of(directory), "first")
    assert state() == before
