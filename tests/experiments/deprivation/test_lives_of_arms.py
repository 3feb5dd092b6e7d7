from __future__ import annotations

import contextlib

import numpy as np
import pytest

from ffstream.config import validate
from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments.deprivation import lives
from ffstream.experiments.deprivation.plan import Plan
from ffstream.experiments.deprivation.run import Experiment, Stream

EXACT = ("test_accuracy", "goodness_real", "goodness_negative", "d_prime", "false_accepts", "dead_units")


class Silent:
    def begins(self, what, steps):
        pass

    def lived(self, steps):
        pass

    def over(self, lives):
        pass


def segment(do, steps, **more):
    return {"do": do, "steps": steps, **more}


def declare(seeds=1, dreams="memory", **arms):
    return validate(
        Plan,
        {
            "dataset": "digits",
            "warm_up": 30,
            "seeds": seeds,
            "probes": 2,
            "recipes": {
                "small": {
                    "title": "small",
                    "network": {"hidden": [40, 40]},
                    "dreams": {"source": dreams},
                    "engine": {"compile": False, "memory_samples": 0 if dreams == "dream" else 10_000},
                }
            },
            "arms": {name: {"title": name, "timeline": timeline} for name, timeline in arms.items()},
        },
        "test",
    )


@pytest.fixture
def data():
    return datasets.load("digits", None)


@pytest.fixture
def live(data, tmp_path):
    """Carry out a plan; return the last row of each arm, or all rows."""

    def live(plan, *, enrol=None, runs=tmp_path / "runs", every=False, watcher=None):
        configure = lambda recipe, seed: plan.config(recipe, data, seed, "cpu")  # noqa: E731  short
        experiment = Experiment(plan, data, enrol or lives.in_process(configure), ["test"], runs, watcher or Silent())
        *_, rows = experiment.carry_out()
        return rows if every else {row["arm"]: row for row in rows}

    return live


def read_alike(one, other):
    return all(one[key] == other[key] for key in EXACT)


def test_a_sham_nap_changes_nothing_that_deprivation_would_not(live):
    found = live(declare(deprived=[segment("deprived", 16)], sham=[segment("sham", 16)], slept=[segment("rested", 16)]))
    assert (found["deprived"]["sleep_steps"], found["sham"]["sleep_steps"]) == (0, 16)
    assert read_alike(found["deprived"], found["sham"])
    assert read_alike(found["slept"], found["rested"])
    assert not read_alike(found["deprived"], found["rested"])


def test_deprivation_lets_goodness_of_wrong_labels_rise_and_sleep_lets_it_fall(live):
    found = live(
        declare(deprived=[segment("deprived", 40)], back=[segment("deprived", 40), segment("asleep", 40)]), every=True
    )
    wrong = {(row["arm"], row["segment"]): row["goodness_negative"] for row in found}
    assert wrong["deprived", 1] > wrong["rested", 1] + 0.2
    assert wrong["back", 2] < wrong["back", 1]


def test_restricted_sleep_leaves_a_share_of_the_naps(live):
    found = live(declare(half=[segment("restricted", 32, naps=0.5)], tenth=[segment("restricted", 40, naps=0.1)]))
    # Naps of 4 behind 4 batches: 8 cycles, of which 4 nap; 10 cycles, of which 1 does.
    assert [found[arm]["sleep_steps"] for arm in ("rested", "half", "tenth")] == [40, 16, 4]


def test_every_arm_begins_as_the_rested_life_ended_and_sees_the_same_samples(live):
    plan = declare(one=[segment("deprived", 8), segment("rested", 8)], two=[segment("asleep", 4), segment("rested", 8)])
    rows = live(plan, every=True)
    first = [row for row in rows if row["segment"] == 0]
    assert len(first) == 3
    assert all(read_alike(row, first[0]) for row in first)
    alone = live(declare(two=[segment("asleep", 4), segment("rested", 8)]), every=True)
    assert [row for row in alone if row["arm"] == "two"] == [row for row in rows if row["arm"] == "two"]
    ends = {row["arm"]: (row["batches"], row["awake_steps"], row["sleep_steps"]) for row in rows}
    assert ends == {"rested": (16, 16, 16), "one": (16, 16, 12), "two": (8, 8, 12)}


def test_a_stream_shows_every_image_once_a_pass(data):
    stream = Stream(data, 7, 0)
    shown = [stream[number] for number in range(len(data.train[1]) // 7)]
    assert len({image.tobytes() for images, _ in shown for image in images}) > 1_400
    again = Stream(data, 7, 0)[3]
    assert all(np.array_equal(one, other) for one, other in zip(again, shown[3], strict=True))


def test_finished_lives_are_not_lived_again(live, data):
    plan = declare(seeds=2, one=[segment("deprived", 8)], two=[segment("sham", 8)])
    enrolled = []

    @contextlib.contextmanager
    def enrol(recipe, seed):
        enrolled.append(seed)
        with lives.in_process(lambda recipe, seed: plan.config(recipe, data, seed, "cpu"))(recipe, seed) as subject:
            yield subject

    def begins(what, steps):
        heard.append(what)
        if what == "small, seed 1: two" and heard.count(what) == 1:
            raise KeyboardInterrupt

    heard, watcher = [], Silent()
    watcher.begins = begins
    with pytest.raises(KeyboardInterrupt):
        live(plan, enrol=enrol, watcher=watcher)
    interrupted = len(heard)
    rows = live(plan, enrol=enrol, watcher=watcher, every=True)
    # Only the beginning that the missing arm needs, and that arm.
    assert heard[interrupted:] == ["small, seed 1: the rested beginning", "small, seed 1: two"]
    assert enrolled == [0, 1, 1]
    assert {(row["arm"], row["seed"]) for row in rows} == {
        (arm, seed) for arm in ("rested", "one", "two") for seed in (0, 1)
    }
    live(plan, enrol=enrol)
    assert enrolled == [0, 1, 1]
    changed = plan.model_copy(update={"warm_up": 31})
    live(changed, enrol=enrol)
    assert enrolled == [0, 1, 1, 0, 1]


def test_a_daemon_fares_as_the_learner_in_process(live, data, start_daemon, tmp_path):
    plan = declare(
        deprived=[segment("deprived", 16), segment("rested", 8)],
        short=[segment("restricted", 16, naps=0.5)],
        sham=[segment("sham", 12)],
        asleep=[segment("asleep", 30), segment("rested", 8)],
    )
    daemon = start_daemon(
        network={"hidden": [40, 40]},
        optimizer={"rate": "auto"},
        phases={"quiet_ms": lives.QUIET_MS},
        # Compiled in the midst of its life, it would round otherwise from there on.
        engine={"report_ms": lives.REPORT_MS, "compile": False},
    )
    wired = live(plan, enrol=lives.running(daemon.address, plan, data), runs=tmp_path / "live")
    here = live(plan)
    for arm in ("rested", "deprived", "short", "sham"):
        for key in (*EXACT, "batches", "sleep_steps", "awake_steps"):
            assert wired[arm][key] == pytest.approx(here[arm][key], rel=1e-5), (arm, key)
    # A daemon sleeps on its own, so it sleeps a little longer.
    assert wired["asleep"]["sleep_steps"] >= here["asleep"]["sleep_steps"]
    assert wired["asleep"]["test_accuracy"] == pytest.approx(here["asleep"]["test_accuracy"], abs=0.05)
    assert wired["asleep"]["goodness_negative"] == pytest.approx(here["asleep"]["goodness_negative"], abs=0.5)
    with pytest.raises(ConfigError, match="has already learned"):
        live(plan, enrol=lives.running(daemon.address, plan, data), runs=tmp_path / "again")


def test_dreams_are_read_where_the_network_has_some(live, data, tmp_path):
    arm = [segment("asleep", 40)]
    assert {row["goodness_dreamed"] for row in live(declare(one=arm), every=True)} == {None}
    plan = declare(dreams="dream", one=arm)
    dreamt = {row["segment"]: row["goodness_dreamed"] for row in live(plan, every=True) if row["arm"] == "one"}
    # Asleep the network lowers what it dreams under wrong labels, and units are shared with the right one.
    assert 0 < dreamt[1] < dreamt[0]
    enrol = lives.started(lambda recipe, seed: plan.config(recipe, data, seed, "cpu"))
    wired = live(plan, enrol=enrol, runs=tmp_path / "live", every=True)
    assert wired[0]["goodness_dreamed"] == pytest.approx(dreamt[0], rel=0.5)


def test_a_daemon_is_started_where_none_is_named(live, data):
    plan = declare(deprived=[segment("deprived", 4)])
    wired = live(plan, enrol=lives.started(lambda recipe, seed: plan.config(recipe, data, seed, "cpu")))
    assert (wired["deprived"]["batches"], wired["deprived"]["sleep_steps"]) == (4, 0)


def test_one_daemon_lives_one_life(data):
    with pytest.raises(ConfigError, match="--seeds 1"):
        lives.running("127.0.0.1:1", declare(seeds=2, one=[segment("sham", 1)]), data)
