"""How many cores a process in a container may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ffstream.stream.cores import available_cores
from ffstream.stream.device import threads_of

VERSION_2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
ELSEWHERE = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"


def system(root: Path, groups: str, mounts: str, **files: str) -> Path:
    """Make what the kernel shows of control groups; files by their path under /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(ELSEWHERE + mounts)
    for name, content in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    return root


def version_1(folder: str, mounted_from: str, controllers: str = "cpu,cpuacct") -> str:
    return f"35 30 0:31 {mounted_from} /sys/fs/cgroup/{folder} rw shared:9 - cgroup cgroup rw,{controllers}\n"


@pytest.fixture(autouse=True)
def host_of_64_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def test_a_quota_of_version_2_is_read_inside_a_container(tmp_path):
    assert available_cores(system(tmp_path, "0::/\n", VERSION_2, **{"cpu.max": "150000 100000"})) == 1.5


def test_a_quota_of_version_2_is_read_where_the_whole_hierarchy_is_in_sight(tmp_path):
    root = system(
        tmp_path, "0::/system.slice/f.service\n", VERSION_2, **{"system.slice/f.service/cpu.max": "250000 100000"}
    )
    assert available_cores(root) == 2.5


def test_the_smallest_quota_of_a_group_and_those_above_it_counts(tmp_path):
    files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "800000 100000"}
    assert available_cores(system(tmp_path, "0::/a/b\n", VERSION_2, **files)) == 3


def test_a_quota_of_another_group_does_not_count(tmp_path):
    files = {"a/cpu.max": "max 100000", "other/cpu.max": "100000 100000"}
    assert available_cores(system(tmp_path, "0::/a\n", VERSION_2, **files)) == 64


@pytest.mark.parametrize(("quota", "cores"), [("150000", 1.5), ("-1", 64), ("6400000", 64)])
def test_a_quota_of_version_1_is_read_inside_a_container(tmp_path, quota, cores):
    groups = "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc\n"
    files = {"cpu,cpuacct/cpu.cfs_quota_us": quota, "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    assert available_cores(system(tmp_path, groups, version_1("cpu,cpuacct", "/docker/abc"), **files)) == cores


def test_a_quota_of_version_1_is_read_where_the_whole_hierarchy_is_in_sight(tmp_path):
    files = {"cpu/batch/cpu.cfs_quota_us": "50000", "cpu/batch/cpu.cfs_period_us": "100000"}
    root = system(tmp_path, "4:cpu:/batch/job\n1:cpuset:/\n", version_1("cpu", "/", "cpu"), **files)
    assert available_cores(root) == 0.5


def test_groups_of_controllers_other_than_cpu_say_nothing(tmp_path):
    files = {"cpuset/cpu.cfs_quota_us": "50000", "cpuset/cpu.cfs_period_us": "100000"}
    assert available_cores(system(tmp_path, "1:cpuset:/\n", version_1("cpuset", "/", "cpuset"), **files)) == 64


@pytest.mark.parametrize("content", ["", "max", "nonsense 100000", "100000 0", "0 100000", "1 2 3"])
def test_a_quota_that_cannot_be_read_is_none(tmp_path, content):
    assert available_cores(system(tmp_path, "0::/\n", VERSION_2, **{"cpu.max": content})) == 64


def test_without_control_groups_the_affinity_counts(tmp_path):
    assert available_cores(tmp_path) == 64


def test_without_affinity_the_cores_of_the_machine_count(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert available_cores(tmp_path) == 10


def test_this_system_can_be_read():
    assert 0 < available_cores() <= 64


@pytest.mark.parametrize(
    ("available", "threads"), [(0.5, 1), (1, 1), (1.5, 1), (2, 1), (2.9, 1), (3, 2), (8, 7), (64, 63)]
)
def test_a_core_is_left_to_the_sockets_and_one_thread_is_the_least(monkeypatch, available, threads):
    monkeypatch.setattr("ffstream.stream.device.available_cores", lambda: available)
    assert threads_of(0) == threads


def test_the_configured_number_of_threads_counts():
    assert threads_of(5) == 5
