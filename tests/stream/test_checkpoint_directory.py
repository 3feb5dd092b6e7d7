"""What a person does in the directory of checkpoints."""

from __future__ import annotations

import os
import shutil

import pytest
from snapshots import make_snapshot, names

from ffstream.errors import CheckpointError, StateError
from ffstream.stream.checkpoint import CheckpointStore


def test_a_checkpoint_copied_from_elsewhere_is_one_like_any_other(store, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = CheckpointStore(elsewhere, 3)
    for version in range(20, 23):
        name = other.save(make_snapshot(version))
    store.save(make_snapshot(1))
    shutil.copytree(elsewhere / name, tmp_path / name)
    assert store.newest()[0].version == 22
    assert store.save(make_snapshot(2)) == "checkpoint-000004"


def test_a_copy_under_another_name_is_read_and_never_removed(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    shutil.copytree(tmp_path / store.save(make_snapshot(1)), tmp_path / "spare")
    for version in (2, 3):
        store.save(make_snapshot(version))
    assert names(tmp_path) == ["checkpoint-000003", "spare"]
    assert store.read("spare").version == 1
    assert [manifest["version"] for manifest in store.kept()] == [3]
    with pytest.raises(CheckpointError, match="copy of checkpoint-000001"):
        store.unpin("spare")


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
@pytest.mark.parametrize("name", ["checkpoint-000009", "mine"])
def test_a_link_or_file_with_the_name_of_a_checkpoint_is_none_and_is_left_alone(store, tmp_path, kind, name):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target = elsewhere / CheckpointStore(elsewhere, 3).save(make_snapshot(7))
    match kind:
        case "link":
            (tmp_path / name).symlink_to(target)
        case "dangling link":
            (tmp_path / name).symlink_to("nowhere")
        case _:
            (tmp_path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint is called"):
        store.read(name)
    for version in range(1, 6):
        store.save(make_snapshot(version))
    assert store.newest()[0].version == 5
    assert (tmp_path / name).is_symlink() == (kind != "file")
    assert target.is_dir()


def test_a_folder_of_something_else_is_left_alone(store, tmp_path):
    (tmp_path / "notes").mkdir()
    for version in range(1, 6):
        store.save(make_snapshot(version))
    assert (tmp_path / "notes").is_dir()
    assert len(store.listing()) == 3


@pytest.mark.parametrize("stranger", ["checkpoint-notes.txt", "checkpoint-000001-old", "damaged-checkpoint-x"])
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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only_is_a_state_error(store, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="not saved: Permission denied"):
        store.save(make_snapshot())
    tmp_path.chmod(0o700)
