from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ffstream.stream.memory import Memory


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbered(first: int, count: int, width: int = 1) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return samples that hold their own number, as row and as label."""
    numbers = np.arange(first, first + count)
    return np.repeat(numbers.astype(np.float32)[:, None], width, 1), numbers


def fill(memory: Memory, samples: int, batch: int, generator: np.random.Generator, width: int = 1) -> None:
    for first in range(0, samples, batch):
        memory.add(*numbered(first, min(batch, samples - first), width), generator)


def kept(memory: Memory) -> list[int]:
    return sorted(memory.state()["labels"].tolist())


def test_an_empty_memory_has_nothing_to_draw():
    with pytest.raises(ValueError, match="nothing is remembered"):
        Memory(4, 1).draw(1, seeded())


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_it_keeps_everything_until_it_is_full(batch):
    memory = Memory(100, 1)
    fill(memory, 100, batch, seeded())
    assert kept(memory) == list(range(100))


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_it_never_holds_more_than_its_capacity(batch):
    memory = Memory(10, 1)
    fill(memory, 500, batch, seeded())
    assert len(memory) == len(memory.state()["rows"]) == 10
    assert memory.seen == 500


@pytest.mark.parametrize("batch", [5, 20, 100])
def test_every_sample_of_the_stream_is_kept_with_the_same_chance(batch):
    runs, samples, capacity = 1_500, 100, 20
    generator, counts = seeded(1), torch.zeros(samples)
    for _ in range(runs):
        memory = Memory(capacity, 1)
        fill(memory, samples, batch, generator)
        counts += torch.bincount(memory.state()["labels"], minlength=samples)
    expected = runs * capacity / samples
    # The sum over samples of the squared standard deviation from 300 has mean 99 and deviation about 14.
    chi_square = float(((counts - expected) ** 2 / (expected * (1 - capacity / samples))).sum())
    assert 50 < chi_square < 150


@pytest.mark.parametrize(("capacity", "batch"), [(8, 32), (100, 32), (100, 1024), (1_000, 256)])
def test_a_remembered_row_keeps_its_own_label(capacity, batch):
    memory, generator = Memory(capacity, 784), seeded(2)
    for _ in range(3):
        fill(memory, capacity + 4 * batch, batch, generator, width=784)
    state = memory.state()
    assert torch.equal(state["rows"], state["labels"].float().unsqueeze(1).expand(-1, 784))


def test_it_draws_only_what_it_holds():
    memory = Memory(50, 1)
    fill(memory, 5, 5, seeded())
    rows, labels = memory.draw(200, seeded())
    assert set(labels.tolist()) == set(range(5))
    assert (rows[:, 0] == labels).all()


def test_the_same_generator_draws_the_same_samples():
    memory = Memory(50, 1)
    fill(memory, 50, 10, seeded())
    assert (memory.draw(20, seeded(5))[1] == memory.draw(20, seeded(5))[1]).all()


def test_a_drawn_sample_is_a_copy():
    memory = Memory(1, 1)
    fill(memory, 1, 1, seeded())
    memory.draw(1, seeded())[0].fill(9)
    assert memory.draw(1, seeded())[0].item() == 0


@pytest.mark.parametrize("samples", [0, 7, 20, 300])
def test_a_restored_memory_goes_on_as_the_first_one_does(samples):
    memory, restored = Memory(20, 1), Memory(20, 1)
    fill(memory, samples, 10, seeded())
    restored.restore(memory.state(), memory.seen)
    for each in (memory, restored):
        each.add(*numbered(samples, 50), seeded(9))
    assert (restored.seen, len(restored)) == (memory.seen, len(memory))
    assert torch.equal(restored.state()["rows"], memory.state()["rows"])


def test_a_memory_grown_smaller_keeps_what_fits_and_the_count_of_the_stream():
    memory, smaller = Memory(20, 1), Memory(5, 1)
    fill(memory, 300, 10, seeded())
    smaller.restore(memory.state(), memory.seen)
    assert (len(smaller), smaller.seen) == (5, 300)
    assert set(kept(smaller)) < set(kept(memory))


def test_a_memory_grown_larger_draws_only_what_was_written():
    memory, larger = Memory(5, 1), Memory(20, 1)
    memory.add(np.full((300, 1), 7, np.float32), np.full(300, 7), seeded())
    larger.restore(memory.state(), memory.seen)
    assert len(larger) == 5
    assert set(larger.draw(100, seeded())[1].tolist()) == {7}
