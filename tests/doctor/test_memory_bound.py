from __future__ import annotations

import pytest
import torch

from ffstream.config import Config
from ffstream.doctor import memory
from ffstream.ff.network import Network
from ffstream.stream.learner import Learner

CPU = torch.device("cpu")
IMAGES = {
    "shape": (3, 8, 8),
    "layers": (
        {"kind": "convolution", "units": 20, "kernel": 3, "padding": 1, "pool": 2},
        {"kind": "local", "units": 10, "kernel": 2},
        {"kind": "dense", "units": 30},
    ),
}


def config(**sections: dict) -> Config:
    engine = {"device": "cpu", "compile": False, **sections.pop("engine", {})}
    return Config.model_validate({"engine": engine, **sections})


@pytest.mark.parametrize("rule", ["in_place", "momentum", "adam"])
@pytest.mark.parametrize("network", [{"hidden": (60, 40)}, IMAGES], ids=["dense", "images"])
def test_weights_and_what_a_rule_keeps_are_counted_as_they_are(network, rule):
    made = config(network={**network, "precision": "float32"}, optimizer={"rule": rule})
    layers = Network(made.network, made.optimizer, CPU).layers
    weights = sum(layer.weight.nbytes for layer in layers)
    found = memory._network(made)
    assert found["weights"] == weights
    # Adam's gradient is no state.
    assert found["rules"] == {"in_place": 0, "momentum": 1, "adam": 3}[rule] * weights


@pytest.mark.parametrize(("rounding", "bytes_a_weight"), [("nearest", 0), ("stochastic", 8), ("master", 4)])
def test_rounding_keeps_what_it_does(rounding, bytes_a_weight):
    made = config(network={"hidden": (60, 40), "precision": "bfloat16"}, optimizer={"rounding": rounding})
    found = memory._network(made)
    assert found["rules"] * 2 == found["weights"] * bytes_a_weight


def test_a_checkpoint_is_as_large_as_is_estimated():
    made = config(network={"precision": "float32"})
    learner = Learner(made)
    learner.memory.seen = made.engine.memory_samples
    size = sum(tensor.nbytes for file in learner.snapshot().tensors.values() for tensor in file.values())
    assert memory.checkpoint_bytes(made) == pytest.approx(size, rel=0.02)


def test_the_defaults_fit_and_the_parts_are_told():
    found = memory.check_memory(config())
    assert found.verdict == "ok"
    for part in ("weights 2.5 MiB", "remembered samples 30 MiB", "inboxes 192 MiB"):
        assert part in found.found


def test_more_than_there_is_fails_and_says_what_to_lower():
    found = memory.check_memory(config(engine={"memory_samples": 10**9}))
    assert (found.verdict, "engine.memory_samples" in found.advice) == ("fail", True)
    found = memory.check_memory(config(server={"inbox_bytes": 2**50}))
    assert (found.verdict, "server.inbox_bytes" in found.advice) == ("fail", True)


def test_most_of_what_there_is_is_a_risk(monkeypatch):
    total = sum(dict(memory._rest(config())).values())
    monkeypatch.setattr(memory, "_limit", lambda: int(total * 1.15))
    assert memory.check_memory(config()).verdict == "warn"


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/system.slice/ffstream.service", "sys/fs/cgroup/system.slice/memory.max"),
        ("4:memory:/docker/abc\n0::/", "sys/fs/cgroup/memory/docker/memory.limit_in_bytes"),
    ],
    ids=["version 2", "version 1"],
)
def test_the_limit_of_a_control_group_above_counts(tmp_path, groups, file):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups + "\n")
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("1073741824\n")
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert list(memory._of_groups(tmp_path)) == [2**30]


def test_without_control_groups_the_machine_alone_counts(tmp_path, monkeypatch):
    assert list(memory._of_groups(tmp_path)) == []
    monkeypatch.setattr(memory, "_of_groups", lambda: iter(()))
    assert memory._limit() > 2**20
