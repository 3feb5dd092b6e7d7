"""A daemon serves at once, compiles meanwhile, and its replay runs what ran compiled compiled."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
from daemons import starter, until

from ffstream import Client
from ffstream.stream.journal import Journal
from ffstream.stream.records import Stepped

# Compiling takes a minute or two where the cores are busy.
pytestmark = pytest.mark.timeout(1800)
PATIENCE_S = 1500.0
CACHE = "TORCHINDUCTOR_CACHE_DIR"
COMPILED = {
    "network": {"hidden": [16], "precision": "float32"},
    "engine": {"compile": True, "max_batch": 16, "threads": 1},
    "phases": {"schedule": "together"},
}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """Return a folder of kernels, which the first daemon fills."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def start(tmp_path, kernels, monkeypatch):
    """Start daemons that compile, with that folder."""
    monkeypatch.setenv(CACHE, str(kernels))
    with starter(tmp_path) as start_daemon:
        yield lambda **sections: start_daemon(**{**COMPILED, **sections})


def backend(daemon):
    with Client(daemon.address) as client:
        return client.status()["backend"]


def wait_for(daemon, loop):
    until(lambda: backend(daemon)["loop"] == loop, PATIENCE_S)


def warnings(daemon):
    """Return what the daemon warned of, but for that it is held, as these tests command."""
    lines = daemon.log.read_text().splitlines()
    return [line for line in lines if " WARNING " in line and "learning is held" not in line]


def taught(daemon, images, labels):
    """Feed samples; return when they are learned."""
    with Client(daemon.address, ack="learned") as client:
        client.feed(images, labels)
        client.flush()


def steps_of(folder: Path) -> list[Stepped]:
    journal = Journal(folder / "journal.sqlite")
    with contextlib.closing(journal):
        return [record for _, record in journal.read(1) if isinstance(record, Stepped)]


def test_steps_before_and_after_it_was_compiled_are_replayed_bit_for_bit(start, digits, tmp_path):
    images, labels = digits
    daemon = start()
    assert backend(daemon)["loop"] == "compiling"
    taught(daemon, images[:100], labels[:100])
    wait_for(daemon, "compiled")
    taught(daemon, images[100:200], labels[100:200])
    with Client(daemon.address) as client:
        asked = client.predict(images[:50])
        # When that is on disk, so are the steps before it.
        client.control("hold")
    daemon.process.kill()
    daemon.process.wait()
    assert {step.compiled for step in steps_of(tmp_path / "state")} == {False, True}
    again = start()
    with Client(again.address) as client:
        found = client.predict(images[:50])
    assert found.version == asked.version
    assert (found.goodness == asked.goodness).all()
    assert backend(again) == {**backend(again), "loop": "compiled", "reason": ""}
    assert warnings(again) == []


def test_it_ends_at_once_while_it_compiles_and_leaves_no_process_behind(start, monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE, str(tmp_path / "cold"))
    daemon = start()
    children = Path(f"/proc/{daemon.process.pid}/task")
    until(lambda: compiling_of(children), PATIENCE_S)
    pids = compiling_of(children)
    assert daemon.stop() == 0
    assert "compiled in" not in daemon.log.read_text()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), PATIENCE_S)


def test_a_process_that_somebody_ended_says_nothing_of_the_next(start, monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE, str(tmp_path / "cold"))
    for _ in range(2):
        daemon = start(state={"directory": str(tmp_path / "state")})
        until(lambda: compiling_of(Path(f"/proc/{daemon.process.pid}/task")), PATIENCE_S)  # noqa: B023  called at once
        for pid in compiling_of(Path(f"/proc/{daemon.process.pid}/task")):
            os.kill(int(pid), signal.SIGTERM)
        wait_for(daemon, "failed")
        assert backend(daemon)["reason"].startswith("the process that compiles ended with code -15")
        assert daemon.stop() == 0


def compiling_of(tasks: Path) -> list[str]:
    """Return the processes that the threads of a daemon have started."""
    with contextlib.suppress(FileNotFoundError):
        return [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    return []


def test_what_cannot_be_compiled_is_told_in_a_line_and_not_tried_again(start, digits, monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE, str(tmp_path / "cold"))
    monkeypatch.setenv("CXX", "false")
    images, labels = digits
    for told in ("install g++", "to try again, remove"):
        daemon = start(state={"directory": str(tmp_path / "state")})
        wait_for(daemon, "failed")
        taught(daemon, images[:20], labels[:20])
        (line,) = warnings(daemon)[-1:]
        assert "sweeps run uncompiled, and slower: " in line
        assert told in line
        assert len(line) < 300
        assert backend(daemon)["reason"] in line
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.log.read_text()


@pytest.mark.parametrize("compiles", [True, False])
def test_a_cache_that_cannot_be_written_costs_the_compiled_loop_and_no_more(start, digits, monkeypatch, compiles):
    monkeypatch.setenv(CACHE, "/proc/nowhere")
    daemon = start(engine={**COMPILED["engine"], "compile": compiles})
    wait_for(daemon, "failed" if compiles else "off")
    taught(daemon, *(part[:20] for part in digits))
    assert daemon.stop() == 0
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert ("/proc/nowhere; set TORCHINDUCTOR_CACHE_DIR" in log) == compiles


def test_a_metric_says_what_sweeps_run_on(start):
    daemon = start(engine={**COMPILED["engine"], "compile": False})
    until(lambda: 'ffstream_backend_info{device="cpu",loop="off",precision="float32",threads="1"}' in daemon.metrics())


def test_kernels_lie_in_the_state_directory_unless_the_environment_says_otherwise(start, monkeypatch, tmp_path):
    monkeypatch.delenv(CACHE)
    start()
    until((tmp_path / "state" / "kernels").is_dir, PATIENCE_S)
