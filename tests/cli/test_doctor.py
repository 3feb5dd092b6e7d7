"""``ffstream doctor``, as a person runs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from torch._inductor.runtime.cache_dir_utils import cache_dir

from ffstream.daemon.spawn import free_port

NAMES = [
    *("config", "ports", "state", "disk", "clock", "open files", "torch", "device", "precision", "threads"),
    *("space", "memory", "cache", "compiler"),
]


def doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ffstream", "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache_dir(), "COLUMNS": "200", **environment},
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(
        f"[server]\nport = {free_port()}\n"
        f'[state]\ndirectory = "{tmp_path}/state"\njournal_bytes = 1000000\n'
        '[engine]\ndevice = "cpu"\n[network]\nprecision = "float32"\n'
    )
    return path


@pytest.mark.slow
def test_where_a_daemon_runs_well_it_says_so_in_a_line_a_check(file, tmp_path):
    done = doctor("-c", str(file), "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())["checks"]
    assert [check["name"] for check in found] == NAMES
    lines = [line for line in done.stdout.splitlines() if not line.lstrip().startswith("->")]
    assert [line[6:17].strip() for line in lines] == NAMES
    verdicts = {check["name"]: check["verdict"] for check in found}
    # What may be amiss with the machine that runs the tests.
    assert {name for name, verdict in verdicts.items() if verdict != "ok"} <= {"clock", "state", "disk", "threads"}
    assert not (tmp_path / "state").exists()


@pytest.mark.slow
def test_what_is_wrong_comes_with_what_to_do_and_exit_code_1(file, tmp_path):
    port = int(file.read_text().split("port = ")[1].split()[0])
    with socket.socket() as held:
        held.bind(("127.0.0.1", port))
        held.listen()
        done = doctor("-c", str(file), "--json", str(tmp_path / "found.json"), CXX="false")
    assert done.returncode == 1, done.stdout + done.stderr
    found = {check["name"]: check for check in json.loads((tmp_path / "found.json").read_text())["checks"]}
    assert (found["ports"]["verdict"], found["compiler"]["verdict"]) == ("fail", "warn")
    assert "C++ compiler" in found["compiler"]["advice"]
    for check in found.values():
        assert check["found"] in done.stdout
        assert f"-> {check['advice']}" in done.stdout if check["advice"] else check["verdict"] == "ok"


EARLY = """
import sys
from ffstream.doctor import examine

told = []
for finding in examine(None):
    told.append(finding.name)
    assert ("torch" in sys.modules) == (finding.name in ("torch",)), told
    if finding.name == "torch":
        print(*told)
        break
"""


def test_what_is_quickly_told_is_told_before_torch_is_loaded():
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["config", "ports", "state", "disk", "clock", "open", "files", "torch"]
