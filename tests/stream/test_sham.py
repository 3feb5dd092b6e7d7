"""Sham sleep: the phases of a schedule, of which those asleep teach nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from learners import NONE, RULES, drive, make_config, same, stream, tensors

from ffstream.ff.lesson import Phase
from ffstream.stream.learner import Learner
from ffstream.stream.phases import Override


def sleeping(learner: Learner, samples: Iterator[tuple[np.ndarray, np.ndarray]]) -> Learner:
    """Drive until the next step is one of sleep."""
    learner.advance(quiet=False)
    while not learner.asleep:
        drive(learner, samples, 1)
        learner.advance(quiet=False)
    return learner


SHAMS: list[dict[str, Any]] = [
    *({"optimizer": {"rule": rule}} for rule in RULES),
    {"optimizer": {"rule": "adam", "counter": True, "rounding": "master"}},
    {"network": {"coding": "context", "threshold": "running", "peer": 0.03, "homeostasis": True}},
    {"network": {"coding": "overlay", "readout": "all"}},
    {"network": {"coding": "none", "negatives": "noise", "readout": "all", "prediction": "readout"}},
    {"optimizer": {"rounding": "stochastic"}, "network": {"precision": "bfloat16"}},
]


@pytest.mark.parametrize("sections", SHAMS, ids=str)
def test_sham_sleep_scores_and_counts_and_changes_nothing(sections):
    learner = sleeping(drive(Learner(make_config(**sections)), stream(), 7), stream(1))
    learner.scheduler.override = Override.SHAM
    before, version, slept = tensors(learner), learner.version, learner.phase_steps[Phase.SLEEP]
    steps = [learner.step([], NONE, []) for _ in range(3)]
    assert all(step.sham and step.replayed == 5 and len(step.scores.shown) == 5 for step in steps)
    assert (learner.version, learner.phase_steps[Phase.SLEEP]) == (version, slept + 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(learner).items())
    assert learner.scheduler.sham_steps == 3


def test_each_sham_step_draws_anew_from_memory():
    learner = sleeping(Learner(make_config()), stream())
    learner.scheduler.override = Override.SHAM
    first, second = (learner.step([], NONE, []).scores.shown for _ in range(2))
    assert not torch.equal(first, second)


def test_under_sham_the_phases_are_those_of_the_schedule_and_only_wake_steps_are_learned():
    slept, shammed = Learner(make_config()), Learner(make_config())
    shammed.scheduler.override = Override.SHAM
    drive(slept, stream(), 14)
    drive(shammed, stream(), 14)
    assert slept.phase_steps == shammed.phase_steps == {Phase.WAKE: 8, Phase.SLEEP: 6, Phase.TOGETHER: 0}
    assert (slept.version, shammed.version) == (14, 8)
    assert not same(slept, shammed)


def test_a_learner_restored_amid_sham_sleep_goes_on_with_the_same_draws():
    learner, restored = sleeping(Learner(make_config()), stream()), Learner(make_config())
    learner.scheduler.override = Override.SHAM
    learner.step([], NONE, [])
    restored.restore(learner.snapshot())
    assert torch.equal(learner.step([], NONE, []).scores.shown, restored.step([], NONE, []).scores.shown)
