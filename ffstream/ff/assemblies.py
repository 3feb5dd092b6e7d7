"""Initial assignment of units to labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def disjoint_assemblies(labels: int, units: int) -> Tensor:
    """Give each label a run of ``units // labels`` units; units left over belong to none. G (C, u), rows sum to 1."""
    run = units // labels
    owned = torch.eye(labels).repeat_interleave(run, 1) / run
    return functional.pad(owned, (0, units - labels * run))


def random_assemblies(labels: int, units: int, share: float, generator: torch.Generator) -> Tensor:
    """Give each label ``share`` of the units, drawn without replacement; labels overlap. G (C, u), rows sum to 1."""
    size = max(1, round(share * units))
    order = torch.rand(labels, units, generator=generator).argsort(1)
    return torch.zeros(labels, units).scatter_(1, order[:, :size], 1.0 / size)


def whole(units: int, *, half: bool) -> tuple[Tensor, int]:
    """Return each unit's share (1, u) in a mean over all units or the first half, and the number of units in it."""
    size = max(1, units // 2) if half else units
    return functional.pad(torch.full((1, size), 1 / size), (0, units - size)), size
