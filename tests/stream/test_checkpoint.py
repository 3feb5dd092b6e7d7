from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest
import torch
from snapshots import FILES, make_snapshot, names

from ffstream.errors import CheckpointError, StateError
from ffstream.stream.checkpoint import CheckpointStore


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
    with pytest.raises(StateError, match=r"checkpoint-000002: has format 1, but this ffstream reads 2") as refused:
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
