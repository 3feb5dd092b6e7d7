"""A replay runs steps as they ran: compiled ones wait for the compiler, and run uncompiled where that fails."""

from __future__ import annotations

import shutil
import threading

import pytest
import torch
from engines import Driven, made

from ffstream.errors import NotCompiled
from ffstream.stream.compilation import CACHE, Compilation
from ffstream.stream.outbox import Swept
from ffstream.stream.records import Stepped

pytestmark = pytest.mark.timeout(1800)
COMPILES = {"network": {"shape": [6], "labels": 3, "hidden": [12]}, "engine": {"compile": True, "threads": 1}}


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Return the state of an engine that made two steps before it was compiled and two after, and its weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(tmp_path_factory.mktemp("kernels")))
        driven = Driven(made(tmp_path_factory.mktemp("first")), **COMPILES)
        driven.feed(32)
        driven.turn(2)
        driven.engine.compilation._thread.join()
        driven.turn(2)
        driven.journal.wait(driven.journal._next - 1)
        copy = tmp_path_factory.mktemp("copied") / "state"
        shutil.copytree(driven.engine.store.directory, copy)
        steps = [record.compiled for _, record in driven.journal.read(1) if isinstance(record, Stepped)]
        assert steps == [False, False, True, True]
        yield copy, [weight.clone() for weight in driven.weights()]
        driven.close()


def restarted(state, tmp_path):
    """Start an engine on a copy of a state, and let it replay as far as it gets."""
    shutil.copytree(state, tmp_path / "state")
    driven = Driven(tmp_path / "state", catch_up=False, **COMPILES)
    while driven.engine.recovery is not None and not driven.engine.recovery.waiting:
        driven.engine.turn()
    return driven


def test_a_step_that_ran_compiled_waits_for_the_compiler_and_queries_do_not(state, tmp_path, monkeypatch):
    folder, expected = state
    held, load = threading.Event(), Compilation._load
    monkeypatch.setattr(Compilation, "_load", lambda self: held.wait() and load(self))
    again = restarted(folder, tmp_path)
    assert again.engine.learner.version == 2
    # It does not turn round and round meanwhile.
    assert again.engine.wait_s > 0
    again.ask(2)
    assert again.engine.wait_s == 0
    (swept,) = [said for said in again.turn(3) if isinstance(said, Swept)]
    assert (len(swept.answers), swept.catching_up, swept.step.learned) == (1, True, 0)
    assert again.engine.learner.version == 2
    held.set()
    again.engine.compilation._thread.join()
    again.catch_up()
    assert again.engine.learner.backend.loop == "compiled"
    assert again.engine.learner.network.runs_compiled
    assert all(torch.equal(*pair) for pair in zip(again.weights(), expected, strict=True))
    again.close()


def test_where_the_compiler_fails_it_runs_uncompiled_and_the_log_says_so_once(state, tmp_path, monkeypatch, caplog):
    folder, expected = state

    def fail(self):
        raise NotCompiled("no compiler today")

    monkeypatch.setattr(Compilation, "_load", fail)
    again = restarted(folder, tmp_path)
    again.catch_up()
    assert again.engine.learner.version == 4
    assert again.engine.learner.backend.loop == "failed"
    assert again.engine.status()["backend"]["reason"] == "no compiler today"
    for weight, before in zip(again.weights(), expected, strict=True):
        torch.testing.assert_close(weight, before, rtol=1e-4, atol=1e-6)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        "sweeps run uncompiled, and slower: no compiler today",
        "steps that ran compiled are replayed uncompiled, and their last bits may differ",
    ]
    again.close()


def test_without_compiling_in_the_configuration_nothing_is_waited_for(state, tmp_path, caplog):
    folder, _ = state
    shutil.copytree(folder, tmp_path / "state")
    again = Driven(tmp_path / "state", **{**COMPILES, "engine": {"compile": False}})
    assert again.engine.learner.version == 4
    assert "replayed uncompiled" in caplog.text
    again.close()
