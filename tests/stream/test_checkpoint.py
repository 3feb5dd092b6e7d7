from __future__ import annotations

import contextlib
import itertools
import shutil
from pathlib import Path

import pytest
import torch

from ffstream.errors import CheckpointError, StateError
from ffstream.stream.checkpoint import CheckpointStore, Snapshot

FILES = ("manifest.json", "manifest.sha256", "network.safetensors", "memory.safetensors")


def make_snapshot(version: int = 1, value: float = 0.5) -> Snapshot:
    tensors = {
        "network": {"0.weight": torch.full((2, 3), value), "0.rule.steps.weight": torch.tensor(4.0)},
        "memory": {"rows": torch.zeros(0, 3), "labels": torch.tensor([], dtype=torch.int64)},
    }
    return Snapshot(version, {"samples_learned": 12, "scheduler": {"phase": "wake"}}, tensors)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path, keep=3)


def test_a_directory_without_checkpoints_has_no_newest(store):
    assert store.newest() == (None, [])


def test_a_checkpoint_reads_back_as_it_was_saved(store):
    saved = make_snapshot(7)
    store.save(saved)
    found, damaged = store.newest()
    assert damaged == []
    assert found.version == 7
    assert saved.manifest.items() <= found.manifest.items()
    assert found.tensors.keys() == saved.tensors.keys()
    for file, tensors in saved.tensors.items():
        assert found.tensors[file].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert found.tensors[file][name].dtype is tensor.dtype
            assert torch.equal(found.tensors[file][name], tensor)


def test_a_checkpoint_is_named_for_its_version(store, tmp_path):
    assert store.save(make_snapshot(42)) == "checkpoint-000000000042"
    assert names(tmp_path) == ["checkpoint-000000000042"]


@pytest.mark.parametrize("versions", [(1, 2), (9, 10), (999_999, 1_000_000)])
def test_the_newest_checkpoint_has_the_highest_version(store, versions):
    for version in versions:
        store.save(make_snapshot(version))
    assert store.newest()[0].version == max(versions)


def test_saving_a_version_again_replaces_it(store):
    store.save(make_snapshot(1, value=0.5))
    store.save(make_snapshot(1, value=0.75))
    assert store.newest()[0].tensors["network"]["0.weight"][0, 0] == 0.75


def test_saving_a_version_again_costs_no_older_version(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for version in (1, 2, 2):
        store.save(make_snapshot(version))
    shutil.rmtree(tmp_path / store._names()[-1])
    assert store.newest()[0].version == 1


@pytest.mark.parametrize("keep", [1, 3])
def test_only_the_newest_are_kept(tmp_path, keep):
    store = CheckpointStore(tmp_path, keep)
    for version in range(1, 6):
        store.save(make_snapshot(version))
    assert names(tmp_path) == [f"checkpoint-{version:012d}" for version in range(6 - keep, 6)]


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_byte_anywhere_is_found_and_the_older_checkpoint_loaded(tmp_path, file):
    origin = tmp_path / "origin"
    origin.mkdir()
    for version in (1, 2):
        CheckpointStore(origin, 3).save(make_snapshot(version))
    content = (origin / "checkpoint-000000000002" / file).read_bytes()
    unnoticed = []
    for position in range(len(content)):
        copy = tmp_path / f"copy-{position}"
        shutil.copytree(origin, copy)
        flipped = bytes([*content[:position], content[position] ^ 1, *content[position + 1 :]])
        (copy / "checkpoint-000000000002" / file).write_bytes(flipped)
        found, damaged = CheckpointStore(copy, 3).newest()
        if (found.version, len(damaged)) != (1, 1):
            unnoticed.append(content[max(0, position - 12) : position + 5])
        shutil.rmtree(copy)
    assert unnoticed == []


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_found_and_the_older_checkpoint_loaded(store, tmp_path, file):
    for version in (1, 2):
        store.save(make_snapshot(version))
    (tmp_path / "checkpoint-000000000002" / file).unlink()
    found, (reason,) = store.newest()
    assert found.version == 1
    assert "checkpoint-000000000002" in reason


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"format": 99}', b"\xff\xfe"])
def test_a_manifest_that_says_nothing_of_use_is_found(store, tmp_path, content):
    store.save(make_snapshot())
    (tmp_path / "checkpoint-000000000001" / "manifest.json").write_bytes(content)
    assert store.newest()[0] is None


def test_a_damaged_checkpoint_is_set_aside(store, tmp_path):
    for _ in range(2):
        store.save(make_snapshot())
        (tmp_path / "checkpoint-000000000001" / "network.safetensors").write_bytes(b"")
        assert store.newest()[0] is None
    assert names(tmp_path) == ["damaged-checkpoint-000000000001", "damaged-checkpoint-000000000001.1"]


def test_a_damaged_checkpoint_is_not_counted_among_those_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    store.save(make_snapshot(1))
    store.save(make_snapshot(9))
    (tmp_path / "checkpoint-000000000009" / "manifest.json").unlink()
    store.newest()
    store.save(make_snapshot(2))
    assert [name for name in names(tmp_path) if name.startswith("checkpoint-")] == [
        "checkpoint-000000000001",
        "checkpoint-000000000002",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_never_saved(store, tmp_path, value):
    store.save(make_snapshot(1))
    with pytest.raises(CheckpointError, match=r"network\.0\.weight is not finite"):
        store.save(make_snapshot(2, value))
    assert names(tmp_path) == ["checkpoint-000000000001"]


def test_what_a_crash_left_half_written_is_ignored(store, tmp_path):
    store.save(make_snapshot(1))
    partial = tmp_path / ".partial-checkpoint-000000000002"
    partial.mkdir()
    (partial / "network.safetensors").write_bytes(b"half")
    found, damaged = store.newest()
    assert (found.version, damaged) == (1, [])


def test_what_a_crash_left_half_written_does_not_stand_in_the_way(store, tmp_path):
    partial = tmp_path / ".partial-checkpoint-000000000001"
    partial.mkdir()
    (partial / "stale").write_bytes(b"half")
    store.save(make_snapshot(1))
    assert names(tmp_path) == ["checkpoint-000000000001"]
    assert names(tmp_path / "checkpoint-000000000001") == sorted(FILES)


def test_what_a_crash_left_half_written_is_removed_by_a_later_save(store, tmp_path):
    (tmp_path / ".partial-checkpoint-000000000001").mkdir()
    store.save(make_snapshot(2))
    assert names(tmp_path) == ["checkpoint-000000000002"]


@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_while_a_version_is_saved_again_loses_none(store, tmp_path, monkeypatch, crash_at):
    store.save(make_snapshot(1, value=0.5))
    rename, calls = Path.rename, itertools.count(1)

    def crash(path: Path, target: Path) -> Path:
        if next(calls) == crash_at:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", crash)
    with contextlib.suppress(KeyboardInterrupt):
        store.save(make_snapshot(1, value=0.75))
    monkeypatch.undo()
    assert store.newest()[0] is not None


@pytest.mark.parametrize("stranger", ["checkpoint-notes.txt", "checkpoint-000000000001-old"])
def test_what_is_named_like_a_checkpoint_and_is_none_does_not_stand_in_the_way(tmp_path, stranger):
    (tmp_path / stranger).write_bytes(b"")
    store = CheckpointStore(tmp_path, keep=1)
    for version in (1, 2):
        store.save(make_snapshot(version))
    assert store.newest()[0].version == 2


@pytest.mark.parametrize("problem", ["a file", "nothing"])
def test_a_directory_that_cannot_be_written_to_is_a_state_error(tmp_path, problem):
    directory = tmp_path / "state"
    if problem == "a file":
        directory.write_bytes(b"")
    with pytest.raises(StateError, match="not saved"):
        CheckpointStore(directory, 3).save(make_snapshot())
