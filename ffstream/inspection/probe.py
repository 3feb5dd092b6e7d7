"""The network of a checkpoint, and samples to run through it."""

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
    """Samples to run through a network.

    Attributes
    ----------
    rows, labels
        (n, i) float32, and (n,) int64, -1 for unlabeled samples.
    source
        Description of the samples, in the plural.
    """

    rows: Tensor
    labels: Tensor
    source: str

    def draw(self, count: int, generator: Generator) -> Samples:
        """Draw up to ``count`` samples in random order, without replacement."""
        drawn = torch.randperm(len(self.rows), generator=generator)[:count]
        return replace(self, rows=self.rows[drawn], labels=self.labels[drawn])


def network_of(snapshot: Snapshot) -> Network:
    """Rebuild the network of a checkpoint on the CPU.

    Raises
    ------
    CheckpointError
        If this version of ffstream cannot build the network.
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
    """Return the samples in a checkpoint's memory.

    Raises
    ------
    CheckpointError
        If the memory is empty.
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
        If the data set is missing, or does not fit the network's shape and labels.
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
    """Return a seeded generator for samples and negatives, so that figures are reproducible."""
    return Generator().manual_seed(seed)


def members(layer: Layer) -> Tensor:
    """Return the units that count for each label; (C, places * units), or (1, …) if all labels share the same units.

    If labels learn how much each unit counts, a unit is included if it counts more than half as much as the label's
    strongest one.
    """
    grid, share = layer.form.grid, layer.form.coding.pool().share
    counts = share > share.amax(1, keepdim=True) / 2
    places, units = grid.region
    regions = grid.size // (places * units)
    return grid.join(counts.view(len(share), 1, -1, 1, units).expand(-1, -1, regions, places, -1))[:, 0]
