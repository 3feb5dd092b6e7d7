"""How far the weights of each layer moved between two checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ffstream.errors import CheckpointError
from ffstream.stream.snapshot import Snapshot

# What a layer learns: its weights, and under context coding what comes from above.
LEARNED = ("weight", "context")


@dataclass(frozen=True)
class Change:
    """How a tensor moved.

    Attributes
    ----------
    layer, part
        Number of the layer, from 1, and which of the tensors that it learns.
    relative
        Norm of the difference, relative to the norm before.
    cosine
        Between before and after, as vectors; 1 where the direction stayed.
    largest
        The largest change of one value.
    units
        How many units it belongs to.
    movers
        Units that together made half of the change (of its square), the most moved first: few of them, and the change
        is the work of some units; half of all units, and it is everyone's.
    """

    layer: int
    part: str
    relative: float
    cosine: float
    largest: float
    units: int
    movers: int


def changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Compare what the layers learned, layer by layer.

    Raises
    ------
    CheckpointError
        If the two are of different networks.
    """
    old, new = learned(before), learned(after)
    shapes = [{name: tuple(tensor.shape) for name, tensor in one.items()} for one in (old, new)]
    if shapes[0] != shapes[1]:
        raise CheckpointError(f"the checkpoints belong to different networks: {shapes[0]} and {shapes[1]}")
    return [_change(name, old[name], new[name]) for name in sorted(old)]


def learned(snapshot: Snapshot) -> dict[tuple[int, str], Tensor]:
    """Return what the layers learned, (units, …) float64, by layer (from 1) and part."""
    named: Mapping[str, Tensor] = snapshot.tensors.get("network", {})
    parts = [(name.partition("."), tensor.double()) for name, tensor in named.items()]
    return {
        (int(layer) + 1, part): tensor if part == "weight" else tensor.T
        for (layer, _, part), tensor in parts
        if part in LEARNED
    }


def moved(before: Tensor, after: Tensor) -> Tensor:
    """Return how far each unit moved: (units,) norms of the difference of (units, …)."""
    distance: Tensor = (after - before).flatten(1).norm(dim=1)
    return distance


def _change(name: tuple[int, str], before: Tensor, after: Tensor) -> Change:
    difference, norm = after - before, before.norm()
    shares = moved(before, after).square().sort(descending=True).values.cumsum(0)
    movers = int((shares < shares[-1] / 2).sum()) + 1 if shares[-1] > 0 else 0
    return Change(
        *name,
        relative=float(difference.norm() / norm) if norm > 0 else float("inf" if shares[-1] > 0 else 0),
        cosine=float(torch.nn.functional.cosine_similarity(before.flatten(), after.flatten(), dim=0)),
        largest=float(difference.abs().max()),
        units=len(before),
        movers=movers,
    )
