from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ffstream import failpoints
from ffstream.errors import CheckpointError, StateError
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.snapshot import Snapshot

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


def test_a_checkpoint_is_called_by_its_serial(store, tmp_path):
    assert [store.save(make_snapshot(version)) for version in (42, 41)] == ["checkpoint-000001", "checkpoint-000002"]
    assert names(tmp_path) == ["checkpoint-000001", "checkpoint-000002"]


@pytest.mark.parametrize("versions", [(1, 2), (10, 9), (7, 7), (0, 0)])
def test_the_newest_checkpoint_is_the_one_saved_last_whatever_its_version(store, versions):
    for value, version in enumerate(versions):
        store.save(make_snapshot(version, value))
    found, _ = store.newest()
    assert (found.version, found.tensors["network"]["0.weight"][0, 0]) == (versions[-1], len(versions) - 1)


def test_the_millionth_checkpoint_is_newer_than_the_one_before(store, tmp_path):
    store.save(make_snapshot(1))
    (tmp_path / "checkpoint-999998").mkdir()
    assert [store.save(make_snapshot(v)) for v in (2, 3)] == ["checkpoint-999999", "checkpoint-1000000"]
    assert store.newest()[0].version == 3


def test_what_was_set_aside_keeps_its_serial(store, tmp_path):
    for version in (1, 2):
        store.save(make_snapshot(version))
    (tmp_path / "checkpoint-000002" / "manifest.json").unlink()
    store.newest()
    assert store.save(make_snapshot(2)) == "checkpoint-000003"


@pytest.mark.parametrize("keep", [1, 3])
def test_only_the_newest_are_kept(tmp_path, keep):
    store = CheckpointStore(tmp_path, keep)
    for version in range(1, 6):
        store.save(make_snapshot(version))
    assert names(tmp_path) == [f"checkpoint-{version:06d}" for version in range(6 - keep, 6)]


def flips(content):
    """Give every content with one byte flipped: its lowest bit, or its highest."""
    for position, byte in enumerate(content):
        for bit in (1, 128):
            yield bytes([*content[:position], byte ^ bit, *content[position + 1 :]])


def truncations(content):
    return (content[:length] for length in range(len(content)))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("harm", [flips, truncations])
@pytest.mark.parametrize("name", ["", "best"], ids=["by serial", "by name"])
def test_any_byte_flipped_and_any_length_cut_off_is_found_and_the_older_checkpoint_loaded(tmp_path, file, harm, name):
    store = CheckpointStore(tmp_path, 3)
    store.save(make_snapshot(1, value=0.25))
    saved = store.save(make_snapshot(2), name)
    content = (tmp_path / saved / file).read_bytes()
    cases = 0
    for harmed in harm(content):
        (tmp_path / saved / file).write_bytes(harmed)
        with pytest.raises(CheckpointError, match=saved):
            store.read(saved)
        found, damaged = store.newest()
        assert [reason.startswith(f"{saved}: ") for reason in damaged] == [True], harmed
        assert (found.version, float(found.tensors["network"]["0.weight"].sum())) == (1, 1.5), harmed
        (tmp_path / f"damaged-{saved}").rename(tmp_path / saved)
        cases += 1
    assert cases >= len(content)
    (tmp_path / saved / file).write_bytes(content)
    assert store.newest()[0].version == 2


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_found_and_the_older_checkpoint_loaded(store, tmp_path, file):
    for version in (1, 2):
        store.save(make_snapshot(version))
    (tmp_path / "checkpoint-000002" / file).unlink()
    found, (reason,) = store.newest()
    assert found.version == 1
    assert "checkpoint-000002" in reason


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"format": 99}', b"\xff\xfe"])
def test_a_manifest_that_says_nothing_of_use_is_found(store, tmp_path, content):
    store.save(make_snapshot())
    (tmp_path / "checkpoint-000001" / "manifest.json").write_bytes(content)
    assert store.newest()[0] is None


def test_a_damaged_checkpoint_is_set_aside(store, tmp_path):
    (tmp_path / "damaged-before").write_bytes(b"in the way")
    for name in ("", "before"):
        saved = store.save(make_snapshot(), name)
        (tmp_path / saved / "network.safetensors").write_bytes(b"")
        assert store.newest()[0] is None
    assert names(tmp_path) == ["damaged-before", "damaged-before.1", "damaged-checkpoint-000001"]


def test_a_damaged_checkpoint_is_not_counted_among_those_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for version in (1, 9):
        store.save(make_snapshot(version))
    (tmp_path / "checkpoint-000002" / "manifest.json").unlink()
    store.save(make_snapshot(2))
    assert names(tmp_path) == ["checkpoint-000001", "checkpoint-000002", "checkpoint-000003"]
    assert [entry.error[:17] for entry in store.listing()] == ["", "checkpoint-000002", ""]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_never_saved(store, tmp_path, value):
    store.save(make_snapshot(1))
    with pytest.raises(CheckpointError, match=r"network\.0\.weight is not finite"):
        store.save(make_snapshot(2, value))
    assert names(tmp_path) == ["checkpoint-000001"]


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


# --- names and pins ---


def test_a_checkpoint_can_be_given_a_name(store, tmp_path):
    assert store.save(make_snapshot(4), "before-drift.2") == "before-drift.2"
    assert names(tmp_path) == ["before-drift.2"]
    assert store.read("before-drift.2").version == 4


@pytest.mark.parametrize(
    "name",
    [
        *(".hidden", "-x", "a/b", "..", "Upper", "a b", "ä", "x" * 65, "a\n"),
        *("checkpoint-000009", "checkpoint-mine", "damaged-x", "journal.sqlite-wal"),
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


# --- what a person does in the directory ---


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


def rewrite(folder, **changes):
    """Change a manifest as another program might have written it."""
    manifest = {**json.loads((folder / "manifest.json").read_bytes()), **changes}
    written = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(written)
    (folder / "manifest.sha256").write_text(hashlib.sha256(written).hexdigest())


@pytest.mark.parametrize(
    "changes",
    [
        *[{"serial": 0}, {"serial": "2"}, {"version": -1}, {"saved_at": None}, {"name": ""}, {"sha256": []}],
        *[{"sha256": {"../checkpoint-000001/network.safetensors": ""}}, {"sha256": {"missing.safetensors": ""}}],
    ],
)
def test_a_manifest_that_verifies_and_makes_no_sense_is_damaged(store, tmp_path, changes):
    for version in (1, 2):
        store.save(make_snapshot(version))
    rewrite(tmp_path / "checkpoint-000002", **changes)
    found, (reason,) = store.newest()
    assert (found.version, reason.startswith("checkpoint-000002: ")) == (1, True)


def test_a_checkpoint_of_another_format_is_refused_and_not_called_damaged(store, tmp_path):
    for version in (1, 2):
        store.save(make_snapshot(version))
    rewrite(tmp_path / "checkpoint-000002", format=1)
    with pytest.raises(StateError, match=r"checkpoint-000002: has format 1, this ffstream reads 2") as refused:
        store.newest()
    assert not isinstance(refused.value, CheckpointError)
    assert names(tmp_path) == ["checkpoint-000001", "checkpoint-000002"]


def test_an_older_checkpoint_of_another_format_does_not_stand_in_the_way(store, tmp_path):
    store.save(make_snapshot(1))
    rewrite(tmp_path / "checkpoint-000001", format=1)
    store.save(make_snapshot(2))
    assert store.newest()[0].version == 2


def test_a_checkpoint_that_the_disk_will_not_read_is_refused_and_not_called_damaged(store, tmp_path, monkeypatch):
    for version in (1, 2):
        store.save(make_snapshot(version))

    def read_bytes(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(StateError, match=r"checkpoint-000002.*Input/output"):
        store.newest()
    monkeypatch.undo()
    assert store.newest()[0].version == 2


def test_weights_that_are_not_finite_are_not_read_either(store, monkeypatch):
    store.save(make_snapshot(1))
    with monkeypatch.context() as patch:
        patch.setattr("ffstream.stream.snapshot.not_finite", lambda snapshot: "")
        store.save(make_snapshot(2, float("nan")))
    found, damaged = store.newest()
    assert (found.version, damaged) == (1, ["checkpoint-000002: network.0.weight is not finite"])


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
