"""Change of each layer's weights between two checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ffstream.errors import CheckpointError
from ffstream.stream.snapshot import Snapshot

# Tensors that a layer learns: its weights, and under context coding its top-down input.
LEARNED = ("weight", "context")


@dataclass(frozen=True)
class Change:
    """Change of one tensor.

    Attributes
    ----------
    layer, part
        Number of the layer, from 1, and name of the learned tensor.
    relative
        Norm of the difference, relative to the norm before.
    cosine
        Cosine similarity of the tensor before and after, as vectors; 1 if the direction is unchanged.
    largest
        Largest absolute change of one value.
    units
        Number of units of the tensor.
    movers
        Smallest number of units that account for half of the squared change: a few if the change is concentrated, half
        of all units if it is evenly spread.
    """

    layer: int
    part: str
    relative: float
    cosine: float
    largest: float
    units: int
    movers: int


def changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Compare the learned tensors of two checkpoints, layer by layer.

    Raises
    ------
    CheckpointError
        If the checkpoints are of different networks.
    """
    old, new = learned(before), learned(after)
    shapes = [{name: tuple(tensor.shape) for name, tensor in one.items()} for one in (old, new)]
    if shapes[0] != shapes[1]:
        raise CheckpointError(f"the checkpoints belong to different networks: {shapes[0]} and {shapes[1]}")
    return [_change(name, old[name], new[name]) for name in sorted(old)]


def learned(snapshot: Snapshot) -> dict[tuple[int, str], Tensor]:
    """Return the learned tensors (units, …) float64, by layer (from 1) and part."""
    named: Mapping[str, Tensor] = snapshot.tensors.get("network", {})
    parts = [(name.partition("."), tensor.double()) for name, tensor in named.items()]
    return {
        (int(layer) + 1, part): tensor if part == "weight" else tensor.T
        for (layer, _, part), tensor in parts
        if part in LEARNED
    }


def moved(before: Tensor, after: Tensor) -> Tensor:
    """Return the norm of each unit's change, (units,), between two tensors (units, …)."""
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
