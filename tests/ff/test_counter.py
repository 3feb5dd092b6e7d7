"""The remembered move of the other phase, held against one that is summed up step by step."""

from __future__ import annotations

import math

import pytest
import torch
from plain_forward import seeded
from torch import Tensor

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.counter import BRIEF, STEADY, Counter
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network
from ffstream.ff.rounding import Master, Nearest

CPU = torch.device("cpu")
NIGHTS = [(Phase.WAKE, 3), (Phase.SLEEP, 5), (Phase.WAKE, 2), (Phase.SLEEP, 4), (Phase.WAKE, 1)]
OTHER = {Phase.WAKE: Phase.SLEEP, Phase.SLEEP: Phase.WAKE}


def make_weight() -> Tensor:
    return torch.randn(4, 3, generator=seeded(), dtype=torch.float64)


def moves(steps: int, seed: int) -> list[Tensor]:
    generator = seeded(seed)
    return [torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(steps)]


def test_each_phase_also_makes_the_mean_move_of_the_other() -> None:
    weight = make_weight()
    counter, plain = Counter([Nearest(weight)]), weight.clone()
    remembered = {phase: torch.zeros_like(weight) for phase in OTHER}
    for night, (phase, steps) in enumerate(NIGHTS):
        own = moves(steps, night)
        for move in own:
            counter.step(phase)
            weight += move
            plain += remembered[OTHER[phase]] + move
        mean = torch.stack(own).mean(0)
        remembered[phase] = remembered[phase].lerp(mean, steps / (steps + STEADY))
        torch.testing.assert_close(weight, plain, rtol=1e-12, atol=1e-12)
    assert remembered[Phase.WAKE].abs().max() > 0.01


def test_learning_both_signs_at_once_makes_no_move_and_remembers_none() -> None:
    weight = make_weight()
    counter = Counter([Nearest(weight)])
    for move in moves(3, 0):
        counter.step(Phase.WAKE)
        weight += move
    counter.step(Phase.TOGETHER)
    before = weight.clone()
    counter.step(Phase.TOGETHER)
    assert torch.equal(weight, before)
    counter.step(Phase.SLEEP)
    assert not torch.equal(weight, before)


@pytest.mark.parametrize(
    ("steps", "share"), [(1, 1.0), (BRIEF, 1.0), (4 * BRIEF, 0.5), (1000, math.sqrt(BRIEF / 1000))]
)
def test_steps_are_smaller_the_longer_phases_last(steps: int, share: float) -> None:
    counter = Counter([Nearest(make_weight())])
    for _ in range(steps):
        counter.step(Phase.WAKE)
    assert counter.share == pytest.approx(share)
    counter.step(Phase.SLEEP)
    assert counter.share == pytest.approx(share), "the first step of a sleep is as small as those of the wake before it"


def test_a_move_too_small_for_bfloat16_is_kept_by_a_master() -> None:
    exact = make_weight().float() / 8
    adder = Master(exact.bfloat16(), exact)
    counter, before = Counter([adder]), exact.clone()
    for _ in range(10):
        counter.step(Phase.WAKE)
        adder.add_formed(torch.full_like(exact, 1e-6), 1.0)
    counter.step(Phase.SLEEP)
    moved = 1e-5 + 1e-6 * 10 / (10 + STEADY)
    torch.testing.assert_close(exact - before, torch.full_like(exact, moved), rtol=0.05, atol=1e-9)


def test_a_network_goes_on_from_a_checkpoint_bit_for_bit() -> None:
    config = NetworkConfig(shape=(12,), hidden=(20, 20), labels=4, precision="bfloat16")
    optimizer = OptimizerConfig(counter=True, rounding="master")
    rows, labels = torch.rand(8, 12, generator=seeded()), torch.arange(8) % 4
    first, second = (Network(config, optimizer, CPU) for _ in range(2))
    phases = [phase for phase, steps in NIGHTS for _ in range(steps)]
    for i, phase in enumerate(phases[:9]):
        first.sweep(rows, Lesson(labels, phase), seeded(i))
    for name, tensor in second.state().items():
        tensor.copy_(first.state()[name])
    for i, phase in enumerate(phases[9:]):
        for network in (first, second):
            network.sweep(rows, Lesson(labels, phase), seeded(i))
    assert all(torch.equal(a, b) for a, b in zip(first.state().values(), second.state().values(), strict=True))
    assert first.state()["counter.counts"][2:].tolist() == [2, 4]


def test_queries_make_no_move() -> None:
    network = Network(NetworkConfig(shape=(12,), hidden=(20,), labels=4), OptimizerConfig(counter=True), CPU)
    rows = torch.rand(8, 12, generator=seeded())
    network.sweep(rows, Lesson(torch.arange(8) % 4, Phase.WAKE), seeded())
    before = {name: tensor.clone() for name, tensor in network.state().items()}
    network.sweep(rows)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state().items())
