"""What was measured of a machine is kept in the state directory, so that the next start multiplies alike."""

from __future__ import annotations

import json

import pytest
import torch
from engines import Driven, made

from ffstream.ff import measured
from ffstream.ff.products import Plan, Way
from ffstream.stream.measurements import FILE, load, save

CPU = torch.device("cpu")
WIDE = {"network": {"shape": [6], "labels": 3, "hidden": [300, 300], "precision": "auto"}}


@pytest.fixture(autouse=True)
def measured_once(monkeypatch):
    """Have oneDNN win, and count how often it is asked who does."""
    asked = []

    def race(contenders):
        asked.append(contenders)
        return {name: 1.0 if name is Way.ONEDNN else 2.0 for name in contenders}

    monkeypatch.delenv(measured.VARIABLE, raising=False)
    monkeypatch.setattr(measured, "_race", race)
    return asked


def plan_of(driven):
    return driven.engine.learner.network.layers[1].connection.plan


def test_a_daemon_that_comes_back_measures_nothing_and_multiplies_as_before(tmp_path, measured_once, monkeypatch):
    Driven(made(tmp_path), **WIDE).close()
    monkeypatch.setattr(measured, "_race", lambda _: pytest.fail("measured again"))
    again = Driven(tmp_path / "state", **WIDE)
    assert plan_of(again) == Plan(*[Way.ONEDNN] * 3)
    assert again.engine.status()["backend"]["products"] == ["linear", "onednn"]
    assert len(measured_once) > 0


def test_what_other_machines_measured_is_kept_and_not_taken(tmp_path, measured_once):
    other = {"another processor": {"300x300 float32, 1 threads": ["linear-left"] * 3}}
    (tmp_path / FILE).write_text(json.dumps(other))
    products = load(tmp_path)
    assert products.plan(300, 300, torch.float32, CPU).few is Way.ONEDNN
    save(tmp_path, products)
    kept = json.loads((tmp_path / FILE).read_text())
    assert kept == {**other, measured.machine(): products.state()}


UNKNOWN = json.dumps({measured.machine(): {"300x300 float32, 1 threads": ["magic"]}})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"here": 7}', UNKNOWN])
def test_a_damaged_file_is_told_and_measured_anew(tmp_path, caplog, content):
    (tmp_path / FILE).write_text(content)
    products = load(tmp_path)
    (record,) = caplog.records
    assert "measured again" in record.getMessage()
    assert products.plan(300, 300, torch.float32, CPU).few is Way.ONEDNN
    save(tmp_path, products)
    assert load(tmp_path).state() == products.state()


def test_a_directory_that_cannot_be_written_is_told(tmp_path, caplog):
    products = load(tmp_path)
    products.plan(300, 300, torch.float32, CPU)
    # A folder of that name is in the way, for root as well.
    (tmp_path / FILE).with_suffix(".partial").mkdir()
    save(tmp_path, products)
    assert "not written, so products are measured again at the next start" in caplog.text


def test_where_nothing_was_measured_nothing_is_written(tmp_path):
    save(tmp_path, load(tmp_path))
    assert not (tmp_path / FILE).exists()
