from __future__ import annotations

import pytest
import torch

from ffstream.bench import memory

CPU = torch.device("cpu")


def peak(method: str, layers: int) -> int:
    return memory.measure(method, layers, CPU).peak_bytes


def test_depth_costs_the_sweep_no_memory():
    # Scores of the lesson's rows are kept a layer; goodness of every label would grow it by more than that.
    assert peak("ffstream", 12) < 1.01 * peak("ffstream", 4)


def test_backprop_pays_for_every_layer():
    activations = memory.BATCH * memory.WIDTH * 4
    assert peak("backprop", 12) - peak("backprop", 3) > 9 * activations


def test_what_is_allocated_is_seen():
    held: list[torch.Tensor] = []
    size = memory._peak(lambda: held.append(torch.zeros(1_000_000)), CPU)
    assert size == pytest.approx(4_000_000, rel=0.01)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_depth_costs_the_sweep_no_memory_on_a_gpu():
    device = torch.device("cuda")
    shallow, deep = (memory.measure("ffstream", layers, device).peak_bytes for layers in (4, 12))
    assert deep < 1.05 * shallow
