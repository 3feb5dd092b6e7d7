from __future__ import annotations

import pytest
import torch

from ffstream.config import Config, EngineConfig
from ffstream.doctor import computing, memory
from ffstream.ff.measured import Products

CPU = {"device": "cpu"}


def config(**sections: object) -> Config:
    return Config.model_validate({"engine": CPU, **sections})


@pytest.mark.parametrize(
    ("version", "verdict"),
    [("2.10.1", "fail"), ("2.11.0+cu130", "ok"), ("2.14.1", "ok"), ("2.15.0", "warn"), ("3.0.0", "warn")],
)
def test_torch_is_held_against_the_versions_that_were_tested(monkeypatch, version, verdict):
    monkeypatch.setattr(torch, "__version__", version)
    found = computing.check_torch()
    assert (found.verdict, bool(found.advice)) == (verdict, verdict != "ok")


def test_a_device_that_is_there_is_named():
    found = computing.check_device(config())
    assert (found.verdict, found.found.startswith("cpu: ")) == ("ok", True)


def test_a_device_that_is_not_there_fails_and_everything_else_goes_on():
    absent = Config.model_validate({"engine": {"device": "cuda:99"}})
    found = computing.check_device(absent)
    assert (found.verdict, "engine.device" in found.advice) == ("fail", True)
    assert computing.check_precision(absent).verdict == "fail"
    assert computing.check_compiler(absent).verdict == "fail"
    assert memory.check_memory(absent).verdict == "ok"


@pytest.mark.parametrize(
    ("precision", "faster", "verdict"),
    [
        ("auto", "float32", "ok"),
        ("bfloat16", "float32", "warn"),
        ("bfloat16", "bfloat16", "ok"),
        ("float32", "bfloat16", "ok"),
    ],
)
def test_bfloat16_is_asked_for_only_where_it_is_faster(monkeypatch, precision, faster, verdict):
    # As if it had been measured so, on one thread.
    measured = Products({"precision, 1 threads": [faster]})
    monkeypatch.setattr(computing, "PRODUCTS", measured)
    found = computing.check_precision(config(engine={**CPU, "threads": 1}, network={"precision": precision}))
    assert found.verdict == verdict
    assert found.found.startswith("bfloat16" if precision == "bfloat16" else "float32")


@pytest.mark.parametrize(("threads", "cores", "verdict"), [(0, 4.0, "ok"), (64, 4.0, "warn"), (1, 1.0, "warn")])
def test_a_product_takes_no_more_threads_than_there_are_cores(monkeypatch, threads, cores, verdict):
    monkeypatch.setattr(computing, "available_cores", lambda: cores)
    assert computing.check_threads(EngineConfig(threads=threads)).verdict == verdict


def test_the_cache_of_the_compiler_is_told_with_its_size(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    (tmp_path / "made").write_bytes(bytes(2048))
    found = computing.check_cache(config())
    assert (found.verdict, found.found) == ("ok", f"{tmp_path} holds 2.0 KiB of compiled code")


def test_kernels_are_kept_below_the_state_directory_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    found = computing.check_cache(config(state={"directory": str(tmp_path / "state")}))
    assert (found.verdict, str(tmp_path / "state" / "kernels") in found.found) == ("ok", True)


def test_a_cache_that_cannot_be_written_is_told(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/proc/sys")
    found = computing.check_cache(config())
    assert (found.verdict, "TORCHINDUCTOR_CACHE_DIR" in found.advice) == ("warn", True)


def test_a_cache_that_cannot_be_made_is_told(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/proc/sys/ffstream")
    assert computing.check_cache(config()).verdict == "warn"


def test_no_compiler_is_looked_for_where_nothing_is_compiled():
    found = computing.check_compiler(config(engine={"compile": False}))
    assert (found.verdict, "not needed" in found.found) == ("ok", True)
