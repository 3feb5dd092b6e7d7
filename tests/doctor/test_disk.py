from __future__ import annotations

import re
from pathlib import Path

import pytest

from ffstream.config import StateConfig
from ffstream.doctor import disk

# Where nobody can make a file, not even root.
UNWRITABLE = Path("/proc/sys")


def state(directory: Path, **changes: object) -> StateConfig:
    return StateConfig.model_validate({"directory": directory, **changes})


def test_a_directory_that_can_be_made_is_ok_and_is_not_made(tmp_path):
    directory = tmp_path / "deep" / "state"
    found = disk.check_state(state(directory))
    assert "can be created" in found.found
    assert disk.check_speed(directory).verdict != "fail"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_can_be_written_is_ok_and_stays_as_it_is(tmp_path):
    found = disk.check_state(state(tmp_path))
    assert "can be written" in found.found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("directory", [UNWRITABLE, UNWRITABLE / "state"])
def test_a_directory_that_cannot_be_written_fails(directory):
    assert "writable" in disk.check_state(state(directory)).advice
    assert disk.check_state(state(directory)).verdict == "fail"
    assert disk.check_speed(directory).verdict == "fail"


def test_a_file_in_its_place_fails(tmp_path):
    (tmp_path / "state").touch()
    found = disk.check_state(state(tmp_path / "state"))
    assert (found.verdict, "is not a directory" in found.found) == ("fail", True)


def test_a_directory_that_a_daemon_uses_is_told(daemon):
    found = disk.check_state(daemon.config.state)
    assert (found.verdict, "a daemon uses" in found.found) == ("warn", True)


@pytest.mark.skipif(disk._file_system(Path("/dev/shm")) != "tmpfs", reason="no file system in memory here")
def test_a_directory_in_memory_is_gone_when_the_machine_restarts():
    found = disk.check_state(state(Path("/dev/shm/ffstream")))
    assert (found.verdict, "tmpfs" in found.found) == ("warn", True)


def test_a_write_is_timed_median_and_worst(tmp_path):
    median, worst = map(float, re.findall(r"([\d.]+) ms", disk.check_speed(tmp_path).found))
    assert 0 <= median <= worst


def test_a_slow_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "SLOW_S", -1.0)
    found = disk.check_speed(tmp_path)
    assert (found.verdict, "faster disk" in found.advice) == ("warn", True)


def test_space_counts_what_the_journal_and_the_checkpoints_take(tmp_path):
    found = disk.check_space(state(tmp_path, journal_bytes=2**20, keep=3), 2**20)
    assert (found.verdict, "take up to 5.0 MiB" in found.found) == ("ok", True)
    found = disk.check_space(state(tmp_path, journal=False, keep=1), 2**20)
    assert "take up to 2.0 MiB" in found.found


def test_too_little_space_is_told_with_a_size_that_fits(tmp_path):
    found = disk.check_space(state(tmp_path, journal_bytes=2**60), 2**20)
    assert found.verdict == "warn"
    fits = int(re.findall(r"at most (\d+)", found.advice)[0])
    assert disk.check_space(state(tmp_path, journal_bytes=fits), 2**20).verdict == "ok"


def test_no_space_for_checkpoints_fails(tmp_path):
    assert disk.check_space(state(tmp_path), 2**60).verdict == "fail"
