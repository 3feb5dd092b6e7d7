"""Checkpoints on command: saved, listed and pinned beside an engine that learns."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from engines import Driven, made, same

from ffstream import wire
from ffstream.errors import StateError
from ffstream.stream.inbox import SampleBatch
from ffstream.stream.outbox import Saved


def test_a_checkpoint_command_is_answered_with_its_name(driven: Driven, tmp_path: Path) -> None:
    reply = driven.order("checkpoint")
    assert (tmp_path / reply["checkpoint"] / "manifest.json").exists()


def test_a_checkpoint_that_cannot_be_written_fails_its_command_and_is_announced(tmp_path: Path) -> None:
    driven = Driven(state := made(tmp_path))
    shutil.rmtree(state)
    with pytest.raises(StateError, match="not saved"):
        driven.order("checkpoint")
    driven.engine._keeper.close()
    assert [output.error[:9] for output in driven.turn() if isinstance(output, Saved)] == ["not saved"]


def test_the_listing_is_newest_first_and_bounded(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffstream.stream.keeper.LISTED", 2)
    for name in ("a", "b", "c"):
        driven.order("checkpoint", name)
    reply = driven.order("checkpoints")
    assert ([one["name"] for one in reply["checkpoints"]], reply["omitted"]) == (["c", "b"], 1)


def test_a_full_listing_fits_a_header(driven: Driven) -> None:
    for number in range(70):
        folder = driven.engine.store.directory / f"{number:03d}{'x' * 61}"
        folder.mkdir()
        (folder / "manifest.json").touch()
    reply = driven.order("checkpoints")
    assert len(reply["checkpoints"]) == 64
    (header,) = wire.encode("reply", {"id": 2**63 - 1, **reply, **driven.engine.status()})
    assert len(header) < wire.HEADER_BYTES * 3 / 4


def test_pinning_is_a_command(driven: Driven) -> None:
    name = driven.order("checkpoint")["checkpoint"]
    for order, pinned in (("pin", True), ("unpin", False)):
        assert driven.order(order, name) == {"checkpoint": name, "pinned": pinned}
        assert [entry.pinned for entry in driven.engine.store.listing()] == [pinned]


def test_saving_changes_nothing(tmp_path: Path) -> None:
    weights = []
    for folder, checkpoint_s in (("never", 1e6), ("always", 1e-6)):
        (tmp_path / folder).mkdir()
        driven = Driven(tmp_path / folder, state={"checkpoint_s": checkpoint_s}, phases={"schedule": "alternating"})
        draws = np.random.default_rng(1)
        for first in range(0, 64, 8):
            driven.take_in(SampleBatch(draws.random((8, 6), np.float32), draws.integers(0, 3, 8), "f", 4, first))
        while driven.inbox.samples:
            driven.turn()
        driven.close()
        weights.append((driven.engine.learner.version, driven.weights()))
        assert bool(driven.engine.store.listing()) == (folder == "always")
    assert weights[0][0] == weights[1][0] > 8
    assert same(weights[0][1], weights[1][1])
