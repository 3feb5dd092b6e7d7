from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_row import DECLARED, Noting

from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments import run as running
from ffstream.experiments.run import Run, carry_out, rate_share

CPU = torch.device("cpu")
METHODS = ({}, {"method": "backprop"}, {"method": "frozen"}, {"jitter": 1, "flip": True}, {"dropout": 0.2})


@pytest.fixture(scope="module")
def data():
    whole = datasets.load("digits", Path())
    return replace(whole, train=(whole.train[0][:300], whole.train[1][:300]))


@pytest.mark.parametrize("changes", [{"jitter": 1}, {"flip": True}, {"dropout": 0.2}], ids=str)
def test_what_a_row_does_to_its_images_reaches_what_is_learned_of_them(declare, data, changes):
    altered, plain = (Run(declare(**alterations), 0, data, CPU) for alterations in (changes, {}))
    for run in (altered, plain):
        run.learn_pass()
    assert not torch.equal(altered.method.state()["0.weight"], plain.method.state()["0.weight"])


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("changes", METHODS)
def test_an_interrupted_run_goes_on_to_the_same_figures(monkeypatch, tmp_path, declare, data, changes):
    monkeypatch.setattr(running, "SAVE_S", 0.0)
    row = declare(**changes)
    with pytest.raises(KeyboardInterrupt):
        # A pass is 5 batches, so this is in the midst of the third.
        carry_out(row, 0, data, CPU, tmp_path / "a", Noting(12, interrupt))
    went_on = Noting()
    resumed = carry_out(row, 0, data, CPU, tmp_path / "a", went_on)
    assert went_on.runs == [("small", 0, 20, 10)]
    assert went_on.batches == 10
    through = carry_out(row, 0, data, CPU, tmp_path / "b", Noting())
    assert resumed.errors == through.errors
    assert resumed.stamp == through.stamp


# Learns until it is in the midst of the third pass, and dies there without a word.
KILLED = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from small_row import DECLARED, Noting
from ffstream.config import validate
from ffstream.data import datasets
from ffstream.experiments import run
from ffstream.experiments.row import Row
torch.set_num_threads(int(sys.argv[3]))
run.SAVE_S = 0.0
whole = datasets.load("digits", Path())
data = replace(whole, train=(whole.train[0][:300], whole.train[1][:300]))
die = Noting(12, lambda: os.kill(os.getpid(), signal.SIGKILL))
run.carry_out(validate(Row, DECLARED, "test"), 0, data, torch.device("cpu"), Path(sys.argv[1]), die)
"""


def test_a_killed_process_loses_no_more_than_a_pass(tmp_path, declare, data):
    here, threads = str(Path(__file__).parent), str(torch.get_num_threads())
    died = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "killed", here, threads], check=False)
    assert died.returncode == -9
    went_on = Noting()
    resumed = carry_out(declare(), 0, data, CPU, tmp_path / "killed", went_on)
    assert went_on.batches == 10
    assert resumed.errors == carry_out(declare(), 0, data, CPU, tmp_path / "through", Noting()).errors


def test_a_finished_run_is_not_run_again_and_its_weights_are_gone(tmp_path, declare, data):
    first = carry_out(declare(), 0, data, CPU, tmp_path, Noting())
    again = Noting()
    assert carry_out(declare(title="Another title"), 0, data, CPU, tmp_path, again) == first
    assert again.batches == 0
    assert again.runs == [("small", 0, 20, 20)]
    assert again.errors == first.errors[-1:]
    assert [file.name for file in tmp_path.iterdir()] == ["small-seed0.json"]


@pytest.mark.parametrize("after", [12, 10_000])
def test_a_changed_row_starts_anew(monkeypatch, tmp_path, declare, data, after):
    monkeypatch.setattr(running, "SAVE_S", 0.0)
    try:
        carry_out(declare(), 0, data, CPU, tmp_path, Noting(after, interrupt))
    except KeyboardInterrupt:
        assert after == 12
    changed = Noting()
    carry_out(declare(optimizer={"rate": 3e-3}), 0, data, CPU, tmp_path, changed)
    assert changed.runs == [("small", 0, 20, 0)]
    assert changed.batches == 20


def test_other_data_start_anew(tmp_path, declare, data):
    carry_out(declare(), 0, data, CPU, tmp_path, Noting())
    fewer = Noting()
    carry_out(declare(), 0, replace(data, test=(data.test[0][:50], data.test[1][:50])), CPU, tmp_path, fewer)
    assert fewer.batches == 20


def test_the_record_says_what_was_learned(tmp_path, declare, data):
    record = carry_out(declare(), 1, data, CPU, tmp_path, Noting())
    assert len(record.errors) == 4
    assert (record.samples, record.parameters) == (300, 64 * 40 + 40 * 40)
    assert record.seconds > 0
    assert record.device
    assert json.loads((tmp_path / "small-seed1.json").read_text())["errors"] == record.errors


@pytest.mark.parametrize(
    ("network", "rules"),
    [
        ({}, {"goodness", "upper_goodness", "top_goodness"}),
        ({"hidden": [40]}, {"goodness"}),
        (
            {"coding": "overlay", "readout": "all", "prediction": "readout"},
            {"goodness", "upper_goodness", "top_goodness", "readout", "cascade"},
        ),
        ({"coding": "none", "negatives": "masks", "readout": "all", "prediction": "readout"}, {"readout"}),
    ],
    ids=["assembly", "one layer", "overlay", "none"],
)
def test_every_way_of_predicting_is_tested_and_timed(tmp_path, declare, data, network, rules):
    row = declare(network={**DECLARED["network"], **network})
    record = carry_out(row, 0, data, CPU, tmp_path, Noting())
    assert set(record.predictions) == rules
    assert record.predictions[row.network.prediction]["error"] == record.errors[-1]
    assert all(found["seconds_per_1000"] > 0 for found in record.predictions.values())


def test_the_error_is_the_share_of_test_images_that_are_wrong(declare, data):
    run = Run(declare(), 0, data, CPU)
    answers = torch.from_numpy(data.test[1])
    run.method.predict = lambda shown: torch.where(torch.arange(len(shown)) < 9, answers + 1, answers)
    assert run._error() == pytest.approx(100 * 9 / len(answers))


def test_every_pass_shows_every_image_once_in_an_order_of_its_own(declare, data):
    run = Run(declare(network={**DECLARED["network"], "hidden": [300], "labels": 300}), 0, numbered(data), CPU)
    shown = []
    run.method.learn = lambda rows, labels, generator: shown.append(labels)
    run.learn_pass()
    run.learn_pass()
    first, second = torch.cat(shown[:5]), torch.cat(shown[5:])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(300))
    assert not torch.equal(first, second)


def numbered(data):
    return replace(data, train=(data.train[0], np.arange(300)))


def test_the_step_size_falls_over_the_last_share_of_the_passes(declare, data):
    run = Run(declare(passes=2, decay=0.5), 0, data, CPU)
    shares = []
    run.method.anneal = shares.append
    run.learn_pass()
    run.learn_pass()
    assert shares[:6] == [1.0] * 6
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(2 * (1 - (1 + 256 / 300) / 2))


def test_without_decay_the_step_size_stays():
    assert rate_share(0.99, 0.0) == 1.0
    assert rate_share(0.75, 1.0) == 0.25


def test_data_of_another_shape_are_refused_naming_both(declare, data):
    with pytest.raises(ConfigError, match=r"row small: network.shape = \[4, 4\].*digits has \[8, 8\]"):
        Run(declare(network={"shape": [4, 4], "hidden": [40]}), 0, data, CPU)
