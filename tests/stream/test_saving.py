"""Checkpoints are saved when there is something to save, and the journal is pruned behind them all the same."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from engines import Driven, made

from ffstream.errors import JournalError
from ffstream.stream.journal import Journal
from ffstream.stream.outbox import Report, Saved

ALWAYS = {"state": {"checkpoint_s": 1e-6}}
NEVER = {"state": {"checkpoint_s": 1e6}}


def settle(driven: Driven) -> list[Saved]:
    """Turn some more, each time when the disk has done its part; return what was saved, or could not be."""
    said = []
    for _ in range(5):
        said += driven.turn()
        driven.engine._keeper.listing().result()
    return [output for output in said + driven.turn() if isinstance(output, Saved)]


def names(driven: Driven) -> list[str]:
    return [entry.name for entry in driven.engine.store.listing()]


def test_where_nothing_is_new_nothing_is_saved(tmp_path: Path) -> None:
    driven = Driven(tmp_path, **ALWAYS)
    driven.feed(8)
    assert [saved.version for saved in settle(driven)] == [1]
    assert settle(driven) == []
    driven.feed(8, first=8)
    assert [saved.version for saved in settle(driven)] == [2]


@pytest.mark.parametrize("command", ["hold", "sham"])
def test_what_a_command_changes_is_new_though_the_version_stays(tmp_path: Path, command: str) -> None:
    driven = Driven(tmp_path, **ALWAYS)
    driven.feed(8)
    settle(driven)
    driven.order(command)
    settle(driven)
    assert len(names(driven)) == 2
    driven.close()
    status = Driven(tmp_path).engine.status()
    assert (status["holding"], status["override"]) == ((True, "auto") if command == "hold" else (False, "sham"))


def test_a_restart_of_an_idle_engine_saves_nothing_anew(tmp_path: Path) -> None:
    for _ in range(3):
        driven = Driven(tmp_path, **NEVER)
        driven.run()
    assert names(driven) == ["checkpoint-000001"]


def test_what_was_replayed_is_new(tmp_path: Path) -> None:
    driven = Driven(tmp_path, **NEVER)
    driven.order("checkpoint")
    driven.feed(8)
    driven.turn()
    driven.close()
    again = Driven(tmp_path, **NEVER)
    again.run()
    assert [entry.manifest["version"] for entry in again.engine.store.listing()] == [0, 1]


def test_a_checkpoint_that_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    driven = Driven(state := made(tmp_path), **ALWAYS)
    driven.feed(8)
    driven.journal.wait(1)
    shutil.move(state, tmp_path / "away")
    assert all(saved.error for saved in settle(driven))
    shutil.move(tmp_path / "away", state)
    assert [saved.name for saved in settle(driven) if not saved.error] == ["checkpoint-000001"]


def test_how_long_something_is_unsaved_is_reported(tmp_path: Path) -> None:
    driven = Driven(tmp_path, **NEVER, engine={"report_ms": 1e-6})
    driven.order("checkpoint")

    def unsaved() -> float:
        *_, report = [output for output in driven.turn() if isinstance(output, Report)]
        return report.unsaved_s

    time.sleep(0.2)
    assert unsaved() == 0
    driven.feed(8)
    driven.turn()
    first = unsaved()
    time.sleep(0.2)
    assert unsaved() >= first + 0.2
    driven.order("checkpoint")
    assert unsaved() == 0


def test_an_idle_engine_saves_copies_until_an_overfull_journal_is_pruned_and_then_no_more(tmp_path: Path) -> None:
    driven = Driven(tmp_path, **NEVER)
    for first in (0, 8, 16):
        driven.order("checkpoint")
        driven.feed(8, first=first)
        driven.turn()
    driven.run()
    idle = Driven(tmp_path, **ALWAYS)
    assert settle(idle) == []
    # The oldest checkpoint kept needs records that the journal has no room for.
    assert [entry.manifest["version"] for entry in idle.engine.store.listing()] == [1, 2, 3]
    idle.journal.quota = 0
    assert [saved.version for saved in settle(idle)] == [3, 3]
    assert [entry.manifest["version"] for entry in idle.engine.store.listing()] == [3, 3, 3]
    idle.close()
    records = Journal(tmp_path / "journal.sqlite")
    assert [lsn for lsn, _ in records.read(idle.engine._keeper.reaches)][:1] == [idle.engine._keeper.reaches]
    with pytest.raises(JournalError, match="missing"):
        list(records.read(idle.engine._keeper.reaches - 1))
    records.close()
