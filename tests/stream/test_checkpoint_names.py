"""Checkpoints by name: given, taken, pinned and listed."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
from snapshots import make_snapshot, names

from ffstream.errors import CheckpointError
from ffstream.stream.checkpoint import CheckpointStore


def test_a_checkpoint_can_be_given_a_name(store, tmp_path):
    assert store.save(make_snapshot(4), "before-drift.2") == "before-drift.2"
    assert names(tmp_path) == ["before-drift.2"]
    assert store.read("before-drift.2").version == 4


@pytest.mark.parametrize(
    "name",
    [
        *(".hidden", "-x", "a/b", "..", "Upper", "a b", "ä", "x" * 65, "a\n"),
        *("checkpoint-000009", "checkpoint-mine", "damaged-x", "journal.sqlite-wal", "kernels", "products.json"),
        "quarantine-1-0.npz",
    ],
)
def test_a_name_that_cannot_be_one_is_refused(store, tmp_path, name):
    with pytest.raises(CheckpointError, match="cannot be a name"):
        store.save(make_snapshot(), name)
    assert names(tmp_path) == []


@pytest.mark.parametrize("taken", ["checkpoint", "folder", "file", "dangling link"])
def test_a_name_that_is_taken_is_refused_whatever_has_it(store, tmp_path, taken):
    match taken:
        case "checkpoint":
            store.save(make_snapshot(1), "mine")
        case "folder":
            (tmp_path / "mine").mkdir()
        case "file":
            (tmp_path / "mine").write_bytes(b"")
        case _:
            (tmp_path / "mine").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match="'mine' is taken"):
        store.save(make_snapshot(2), "mine")


def test_pinned_checkpoints_outlive_any_number_of_newer_ones_and_are_not_counted(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    store.save(make_snapshot(1), "first")
    store.pin(store.save(make_snapshot(2)))
    for version in range(3, 8):
        store.save(make_snapshot(version))
    assert names(tmp_path) == ["checkpoint-000002", "checkpoint-000006", "checkpoint-000007", "first"]
    assert [(entry.name, entry.pinned) for entry in store.listing()] == [
        *[("first", True), ("checkpoint-000002", True)],
        *[("checkpoint-000006", False), ("checkpoint-000007", False)],
    ]


@pytest.mark.parametrize("name", ["", "mine"])
def test_an_unpinned_checkpoint_goes_when_it_is_old(tmp_path, name):
    store = CheckpointStore(tmp_path, keep=1)
    saved = store.save(make_snapshot(1), name)
    store.pin(saved)
    store.pin(saved)
    store.unpin(saved)
    store.unpin(saved)
    store.save(make_snapshot(2))
    assert names(tmp_path) == ["checkpoint-000002"]


def test_a_checkpoint_given_a_name_takes_its_place_in_the_order(store):
    store.save(make_snapshot(1))
    store.save(make_snapshot(2), "a")
    assert store.newest()[0].version == 2
    assert store.save(make_snapshot(3)) == "checkpoint-000003"
    assert store.newest()[0].version == 3


@pytest.mark.parametrize("call", ["read", "pin", "unpin"])
@pytest.mark.parametrize("name", ["nobody", "checkpoint-000009", "../elsewhere", "", ".", "a\0b"])
def test_a_name_that_no_checkpoint_has_is_refused_with_those_that_there_are(store, call, name):
    store.save(make_snapshot(1), "mine")
    with pytest.raises(CheckpointError, match=r"no checkpoint is called .*; the newest are: mine"):
        getattr(store, call)(name)


def test_the_listing_says_what_is_known_of_each(store, tmp_path):
    scored = replace(
        make_snapshot(5), manifest={"samples_learned": 12, "prequential": {"count": 4, "correct": 3, "window": ""}}
    )
    store.save(scored, "mine")
    store.save(make_snapshot(6))
    (tmp_path / "checkpoint-000002" / "manifest.json").write_bytes(b"{}")
    (mine, damaged) = (entry.facts() for entry in store.listing())
    size = sum(path.stat().st_size for path in (tmp_path / "mine").iterdir())
    assert 0 <= time.time() - mine.pop("saved_at") < 60
    assert mine == {
        "name": "mine",
        "serial": 1,
        "version": 5,
        "samples_learned": 12,
        "prequential": 0.75,
        "bytes": size,
        "pinned": True,
        "error": "",
    }
    assert (damaged["serial"], "manifest.json" in damaged["error"]) == (2, True)
    assert math.isnan(damaged["prequential"])


def test_a_restart_may_begin_from_the_newest_unpinned_ones(store):
    assert store.kept() == []
    store.save(make_snapshot(1), "only")
    assert [manifest["version"] for manifest in store.kept()] == [1]
    for version in range(2, 7):
        store.save(make_snapshot(version), "six" * (version == 6))
    assert [manifest["version"] for manifest in store.kept()] == [3, 4, 5]
