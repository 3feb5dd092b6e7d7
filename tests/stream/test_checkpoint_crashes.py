"""A save that is cut short, at any place, leaves nothing that is half a checkpoint."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from snapshots import FILES, make_snapshot, names

from ffstream import failpoints
from ffstream.errors import StateError
from ffstream.stream.checkpoint import CheckpointStore


def test_what_a_crash_left_half_written_is_ignored(store, tmp_path):
    store.save(make_snapshot(1))
    partial = tmp_path / ".partial-checkpoint-000002"
    partial.mkdir()
    (partial / "network.safetensors").write_bytes(b"half")
    found, damaged = store.newest()
    assert (found.version, damaged) == (1, [])


def test_what_a_crash_left_half_written_does_not_stand_in_the_way(store, tmp_path):
    partial = tmp_path / ".partial-checkpoint-000001"
    partial.mkdir()
    (partial / "stale").write_bytes(b"half")
    store.save(make_snapshot(1))
    assert names(tmp_path) == ["checkpoint-000001"]
    assert names(tmp_path / "checkpoint-000001") == sorted(FILES)


def test_what_a_crash_left_half_written_is_removed_by_a_later_save(store, tmp_path):
    (tmp_path / ".partial-checkpoint-000009").mkdir()
    store.save(make_snapshot(2))
    assert names(tmp_path) == ["checkpoint-000001"]


class Crash(BaseException):
    """The process ends here."""


def places(store, monkeypatch):
    """Return every place that a save passes, as often as it does."""
    passed = []
    monkeypatch.setattr(failpoints, "reach", passed.append)
    store.save(make_snapshot(1))
    monkeypatch.undo()
    return passed


def arm(monkeypatch, place, error):
    """Raise an error at the place that is passed so many places after the first."""
    left = iter([None] * place)

    def reach(_name):
        if next(left, error) is error:
            raise error

    monkeypatch.setattr(failpoints, "reach", reach)


def test_a_save_passes_every_place_where_it_may_be_cut_short(store, monkeypatch):
    files = ["checkpoint.write", "checkpoint.fsync"] * len(FILES)
    assert places(store, monkeypatch) == [*files, "checkpoint.rename", "checkpoint.parent"]


# A name brings one more file, the pin.
@pytest.mark.parametrize(
    ("name", "place"), [*(("", place) for place in range(10)), *(("best", place) for place in range(12))]
)
def test_a_crash_at_any_place_leaves_the_old_checkpoint_or_the_new_one_whole(tmp_path, monkeypatch, place, name):
    store = CheckpointStore(tmp_path, keep=1)
    store.save(make_snapshot(1))
    arm(monkeypatch, place, Crash())
    with pytest.raises(Crash):
        store.save(make_snapshot(2), name)
    monkeypatch.undo()
    found, damaged = CheckpointStore(tmp_path, keep=1).newest()
    # Only the last place lies behind the rename.
    assert (found.version, damaged) == (2 if place == (11 if name else 9) else 1, [])
    store.save(make_snapshot(3))
    assert not list(tmp_path.glob(".partial-*"))
    assert store.newest()[0].version == 3


@pytest.mark.parametrize("place", range(10))
def test_a_disk_that_refuses_at_any_place_is_a_state_error_and_leaves_nothing_half_written(
    tmp_path, store, monkeypatch, place
):
    store.save(make_snapshot(1))
    arm(monkeypatch, place, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(StateError, match="not saved: No space left"):
        store.save(make_snapshot(2))
    monkeypatch.undo()
    assert not list(tmp_path.glob(".partial-*"))
    assert store.newest()[1] == []


def test_a_crash_while_an_old_one_is_removed_leaves_no_damaged_one(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path, keep=1)
    store.save(make_snapshot(1))

    def crash(path):
        (Path(path) / "manifest.json").unlink()
        raise Crash

    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: crash(path) if path.exists() else None)
    with pytest.raises(Crash):
        store.save(make_snapshot(2))
    monkeypatch.undo()
    assert [(entry.name, entry.error) for entry in store.listing()] == [("checkpoint-000002", "")]
    store.save(make_snapshot(3))
    assert names(tmp_path) == ["checkpoint-000003"]
