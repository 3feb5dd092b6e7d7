from __future__ import annotations

import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ffstream import failpoints
from ffstream.errors import JournalError, StateError
from ffstream.stream.inbox import SampleBatch
from ffstream.stream.journal import Journal
from ffstream.stream.records import Commanded, Received, Record, Stepped


def some(number: int) -> Record:
    """Make a record that is recognised by its number; every third carries samples."""
    if number % 3:
        return Stepped(number, 1, 0)
    return Received(SampleBatch(np.full((2, 3), number % 256, np.uint8), np.arange(2), "f", 1, number))


def written(path: Path, count: int) -> Path:
    journal = Journal(path)
    for number in range(1, count + 1):
        journal.append(some(number))
    journal.close()
    return path


def numbers(path: Path, first: int = 1) -> list[int]:
    """Return what a journal holds, each record checked against what was written."""
    journal = Journal(path)
    try:
        found = []
        for lsn, record in journal.read(first):
            assert same(record, some(lsn)), (lsn, record)
            found.append(lsn)
        return found
    finally:
        journal.close()


def same(one: Record, other: Record) -> bool:
    if isinstance(one, Received) and isinstance(other, Received):
        return np.array_equal(one.batch.inputs, other.batch.inputs) and one.batch.first == other.batch.first
    return one == other


def test_records_are_numbered_from_1_and_come_back_in_order(tmp_path: Path) -> None:
    assert numbers(written(tmp_path / "j", 20)) == list(range(1, 21))


def test_reading_begins_where_it_is_asked_to(tmp_path: Path) -> None:
    assert numbers(written(tmp_path / "j", 20), first=15) == list(range(15, 21))


def test_a_reopened_journal_goes_on_counting(tmp_path: Path) -> None:
    written(tmp_path / "j", 3)
    journal = Journal(tmp_path / "j")
    assert (journal.durable, journal.append(some(4))) == (3, 4)
    journal.close()
    assert numbers(tmp_path / "j") == [1, 2, 3, 4]


def test_wait_returns_when_a_record_is_on_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    lsn = journal.append(some(1))
    journal.wait(lsn)
    assert journal.durable >= lsn
    # What is durable is there for another process, whatever becomes of this one.
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert numbers(tmp_path.with_name("copy") / "j") == [1]
    journal.close()


def test_appending_threads_get_numbers_of_their_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    given: list[int] = []
    threads = [
        threading.Thread(target=lambda: given.extend(journal.append(Commanded("wake")) for _ in range(200)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert sorted(given) == list(range(1, 801))


def test_whoever_waits_for_the_disk_is_told(tmp_path: Path) -> None:
    told = threading.Event()
    journal = Journal(tmp_path / "j", progressed=told.set)
    journal.append(some(1))
    assert told.wait(120)
    journal.close()


def test_without_a_file_everything_counts_as_durable() -> None:
    journal = Journal(None)
    lsn = journal.append(some(1))
    assert journal.durable == lsn
    journal.wait(lsn)
    assert list(journal.read(1)) == []
    journal.close()


def test_pruned_records_are_gone_and_the_others_stay(tmp_path: Path) -> None:
    journal = Journal(written(tmp_path / "j", 700))
    journal.prune(601)
    while journal._prune_below:
        threading.Event().wait(0.01)
    journal.append(some(701))
    journal.close()
    journal = Journal(tmp_path / "j")
    assert [lsn for lsn, _ in journal.read(601)] == list(range(601, 702))
    with pytest.raises(JournalError, match="records 600 to 600 are missing"):
        list(journal.read(600))
    journal.close()


def test_pruning_makes_room_and_ends_the_trouble_over_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", quota=20 * 2**16)
    large = SampleBatch(np.zeros((1, 60_000), np.uint8), np.zeros(1, np.int64), "f", 1, 0)
    lsn = 0
    while not journal.trouble:
        lsn = journal.append(Received(large))
        journal.wait(lsn)
    assert "state.journal_bytes" in journal.trouble
    journal.prune(lsn)
    while journal.trouble:
        threading.Event().wait(0.01)
    journal.close()


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    yield monkeypatch
    monkeypatch.delenv(failpoints.VARIABLE, raising=False)
    failpoints.arm()


@pytest.mark.parametrize("place", ["journal.write", "journal.commit"])
def test_a_failed_write_ends_the_journal_and_is_not_tried_again(
    tmp_path: Path, armed: pytest.MonkeyPatch, place: str
) -> None:
    journal = Journal(written(tmp_path / "j", 2))
    armed.setenv(failpoints.VARIABLE, f"{place}:fail")
    failpoints.arm()
    with pytest.raises(StateError, match="not saved"):
        journal.wait(journal.append(some(3)))
    assert journal.failure is not None
    journal.append(some(4))
    journal.close()
    assert numbers(tmp_path / "j") == [1, 2]


@pytest.mark.parametrize("place", ["journal.write", "journal.commit"])
def test_a_full_disk_is_tried_again_until_it_is_not(tmp_path: Path, armed: pytest.MonkeyPatch, place: str) -> None:
    journal = Journal(written(tmp_path / "j", 2))
    armed.setenv(failpoints.VARIABLE, f"{place}:full,{place}@2:full")
    failpoints.arm()
    lsn = journal.append(some(3))
    with pytest.raises(StateError, match="the disk is full"):
        journal.wait(lsn)
    while journal.durable < lsn:
        threading.Event().wait(0.01)
    assert journal.trouble == ""
    journal.close()
    assert numbers(tmp_path / "j") == [1, 2, 3]


def test_a_disk_that_is_really_full_is_told_and_recovers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        journal = Journal(disk / "j")
        (disk / "ballast").write_bytes(bytes(2**20))
        large = SampleBatch(np.zeros((1, 60_000), np.uint8), np.zeros(1, np.int64), "f", 1, 0)
        last = 0
        while not journal.trouble:
            last = journal.append(Received(large))
            threading.Event().wait(0.002)
        assert "the disk is full" in journal.trouble
        (disk / "ballast").unlink()
        while journal.durable < last:
            threading.Event().wait(0.01)
        assert journal.trouble == ""
        journal.close()
        journal = Journal(disk / "j")
        assert len(list(journal.read(1))) == last
        journal.close()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# --- damage: the exact prefix, or a refusal that names the file ---


def numbers_or_refusal(path: Path) -> list[int] | JournalError:
    try:
        return numbers(path)
    except JournalError as refusal:
        return refusal


def outcome(path: Path, count: int) -> str:
    """Say what reading gives: ``prefix``, or ``refused``; anything else fails."""
    found = numbers_or_refusal(path)
    if isinstance(found, JournalError):
        assert str(path) in str(found)
        return "refused"
    assert found == list(range(1, len(found) + 1))
    assert len(found) <= count
    return "prefix"


def crashed(path: Path, count: int) -> Path:
    """Write a journal whose last records are in the write-ahead log alone, as after a kill."""
    journal = Journal(written(path / "live", count - 3))
    for number in range(count - 2, count + 1):
        journal.wait(journal.append(some(number)))
    shutil.copytree(path, path.with_name("crashed"))
    journal.close()
    return path.with_name("crashed") / "live"


def small(path: Path) -> None:
    """Rewrite a closed journal with pages so small that each of its bytes can be tried."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA page_size = 512")
    db.execute("VACUUM")
    db.execute("PRAGMA journal_mode = WAL")
    db.close()


def test_every_byte_of_a_journal_flipped_gives_the_prefix_or_a_refusal(tmp_path: Path) -> None:
    written(tmp_path / "whole", 12)
    small(tmp_path / "whole")
    content, target = (tmp_path / "whole").read_bytes(), tmp_path / "flipped"
    told = set()
    for place in range(len(content)):
        target.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        told.add(outcome(target, 12))
        for rest in tmp_path.glob("flipped?*"):
            rest.unlink()
    assert told == {"prefix", "refused"}


def test_every_truncation_of_a_journal_gives_the_prefix_or_a_refusal(tmp_path: Path) -> None:
    written(tmp_path / "whole", 12)
    small(tmp_path / "whole")
    content, target = (tmp_path / "whole").read_bytes(), tmp_path / "short"
    told = set()
    for end in range(len(content)):
        target.write_bytes(content[:end])
        told.add(outcome(target, 12))
        for rest in tmp_path.glob("short?*"):
            rest.unlink()
    assert "refused" in told


@pytest.mark.parametrize("harm", ["flip", "truncate"])
def test_a_write_ahead_log_that_is_damaged_anywhere_gives_a_prefix_or_a_refusal(tmp_path: Path, harm: str) -> None:
    (tmp_path / "state").mkdir()
    whole = crashed(tmp_path / "state", 9)
    content = whole.with_name("live-wal").read_bytes()
    assert content
    target = tmp_path / "live"
    lengths = set()
    for place in range(0, len(content), 1 + len(content) // 400):
        flipped = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
        shutil.copy(whole, target)
        target.with_name("live-wal").write_bytes(flipped if harm == "flip" else content[:place])
        found = numbers_or_refusal(target)
        if isinstance(found, JournalError):
            assert str(target) in str(found)
            continue
        assert found == list(range(1, len(found) + 1))
        lengths.add(len(found))
    # The records that were in the file itself are there at the least.
    assert min(lengths) >= 6


def test_an_empty_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"")
    with pytest.raises(JournalError, match="is not a journal"):
        Journal(tmp_path / "j")


def test_another_database_in_its_place_is_refused(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "j")
    db.execute("CREATE TABLE record (lsn INTEGER PRIMARY KEY)")
    db.close()
    with pytest.raises(JournalError, match="is not a journal"):
        Journal(tmp_path / "j")


def test_a_journal_half_made_by_a_crash_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "j.new").write_bytes(b"half")
    assert numbers(written(tmp_path / "j", 2)) == [1, 2]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="nowhere"):
        Journal(tmp_path / "nowhere" / "j")
