"""The network of a checkpoint, and samples to show it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.data import datasets
from ffstream.errors import CheckpointError, SourceError
from ffstream.ff.layers import Layer
from ffstream.ff.network import Network
from ffstream.stream.snapshot import Snapshot


@dataclass(frozen=True)
class Samples:
    """Samples to show a network.

    Attributes
    ----------
    rows, labels
        (n, i) float32, and (n,) int64, -1 where there is none.
    source
        What they are, in the plural.
    """

    rows: Tensor
    labels: Tensor
    source: str

    def draw(self, count: int, generator: Generator) -> Samples:
        """Draw some of them, or all if there are fewer, in random order, each once."""
        drawn = torch.randperm(len(self.rows), generator=generator)[:count]
        return replace(self, rows=self.rows[drawn], labels=self.labels[drawn])


def network_of(snapshot: Snapshot) -> Network:
    """Make the network of a checkpoint again, on the CPU.

    Raises
    ------
    CheckpointError
        If this ffstream has no such network.
    """
    manifest = snapshot.manifest
    try:
        optimizer = OptimizerConfig.model_validate({"rule": manifest["rule"], "rounding": manifest["rounding"]})
        network = Network(NetworkConfig.model_validate(manifest["network"]), optimizer, torch.device("cpu"))
        for name, tensor in network.state().items():
            tensor.copy_(snapshot.tensors["network"][name])
    except (KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"the checkpoint lacks something that this ffstream needs: {error!r}") from error
    return network


def remembered(snapshot: Snapshot) -> Samples:
    """Return the samples that a checkpoint remembers.

    Raises
    ------
    CheckpointError
        If there are none.
    """
    memory = snapshot.tensors.get("memory", {})
    if not len(memory.get("rows", ())):
        raise CheckpointError(
            "the checkpoint remembers no samples, since none were fed before it; choose a data set, for "
            "example --dataset digits"
        )
    return Samples(memory["rows"], memory["labels"], "remembered samples")


def of_dataset(name: str, root: Path, network: NetworkConfig) -> Samples:
    """Return the test images of a data set.

    Raises
    ------
    SourceError
        If it is not there, or is not of the network's samples.
    """
    data = datasets.load(name, root)
    image = (1, *data.shape) if len(data.shape) == 2 else data.shape
    if image != network.image or data.labels > network.labels:
        raise SourceError(
            f"{name} has images of shape {data.shape} and {data.labels} labels, but the network takes {network.shape} "
            f"and {network.labels}; choose the data set that it learned"
        )
    images, labels = (torch.from_numpy(array) for array in data.test)
    return Samples(images.flatten(1).float() / 255, labels, f"test images of {name}")


def seeded(seed: int) -> Generator:
    """Return what draws samples and negatives, so that a picture can be drawn again."""
    return Generator().manual_seed(seed)


def members(layer: Layer) -> Tensor:
    """Return which units count for which label; (C, places * units), (1, …) where all labels have the same.

    Where labels learn how much a unit counts, those are meant that count at least half as much as the first of all.
    """
    grid, share = layer.form.grid, layer.form.coding.pool().share
    counts = share > share.amax(1, keepdim=True) / 2
    places, units = grid.region
    regions = grid.size // (places * units)
    return grid.join(counts.view(len(share), 1, -1, 1, units).expand(-1, -1, regions, places, -1))[:, 0]
