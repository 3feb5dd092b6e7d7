from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from plain_forward import PHASES, copy_of, equal, make_labels, make_network, make_rows

from ffstream.ff.captured import FEW, Captured
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.scores import Scores

# Rows of the lesson, and of queries behind them; each kind comes often enough to be captured, and then replayed.
KINDS = ((6, 3), (4, 5), (6, 0))
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def same(one: Scores, other: Scores) -> bool:
    pairs = ((getattr(one, field.name), getattr(other, field.name)) for field in fields(Scores))
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)


def test_on_a_cpu_it_is_the_network_alone():
    plain, captured = (make_network("disjoint") for _ in range(2))
    sweeps = Captured(captured)
    for _ in range(4):
        lesson = Lesson(make_labels(6), Phase.WAKE)
        assert same(plain.sweep(make_rows(9), lesson), sweeps.sweep(make_rows(9), lesson))
    assert equal(copy_of(plain), copy_of(captured))
    assert not sweeps._graphs


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("fused", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("rule", ["in_place", "factored", "momentum", "adam"])
def test_replayed_sweeps_find_and_change_what_plain_ones_do(rule, fused):
    plain, captured = (make_network("disjoint", rule, device="cuda") for _ in range(2))
    if fused:
        plain.fuse(8, PHASES)
        captured.fuse(8, PHASES)
    sweeps = Captured(captured)
    draws = [torch.Generator("cuda") for _ in range(2)]
    for seed in range(4 * len(KINDS) * len(PHASES)):
        (m, queries), phase = KINDS[seed % len(KINDS)], PHASES[seed // len(KINDS) % len(PHASES)]
        rows, lesson = make_rows(m + queries, seed).cuda(), Lesson(make_labels(m).roll(seed).cuda(), phase)
        for generator in draws:
            generator.manual_seed(seed)
        found = sweeps.sweep(rows, lesson, draws[1])
        kept = Scores(*(getattr(found, field.name).clone() for field in fields(Scores)))
        assert same(plain.sweep(rows, lesson, draws[0]), found)
        assert same(plain.sweep(rows), sweeps.sweep(rows))
        # What a sweep found stays as it is when the next one is replayed.
        assert same(kept, found)
    assert equal(copy_of(plain), copy_of(captured))
    # Of each lesson, and of each number of rows that were only asked about.
    assert len(sweeps._graphs) == len(KINDS) * len(PHASES) + 2


@pytest.mark.gpu
@GPU
def test_a_step_size_that_changes_is_not_replayed():
    plain, captured = (make_network("disjoint", device="cuda") for _ in range(2))
    sweeps = Captured(captured)
    rows, lesson = make_rows(6).cuda(), Lesson(make_labels(6).cuda(), Phase.WAKE)
    for share in (1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.0):
        plain.anneal(share)
        captured.anneal(share)
        plain.sweep(rows, lesson)
        sweeps.sweep(rows, lesson)
        assert equal(copy_of(plain), copy_of(captured))


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("changes", [{"readout": "all"}, {}], ids=["a read-out", "many rows"])
def test_what_needs_the_host_or_has_many_rows_runs_as_it_is(changes):
    network = make_network("disjoint", device="cuda", **changes)
    sweeps = Captured(network)
    for _ in range(4):
        count = 6 if changes else FEW + 1
        sweeps.sweep(make_rows(count).cuda(), Lesson(make_labels(count).cuda(), Phase.WAKE))
    assert not sweeps._graphs
