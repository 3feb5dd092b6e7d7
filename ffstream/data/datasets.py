"""Data sets by name: scikit-learn's bundled digits, and torchvision's from a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffstream.errors import SourceError

# Name on the command line: class in torchvision.datasets. Each takes (root, train, download) and keeps its images
# whole in memory.
TORCHVISION = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "usps": "USPS",
}
NAMES = ("digits", *TORCHVISION)

HELD_OUT = 360


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes
    ----------
    train, test
        Images (n, *shape) uint8, and labels (n,) int64.
    labels
        Number of labels.
    """

    train: tuple[NDArray[np.uint8], NDArray[np.int64]]
    test: tuple[NDArray[np.uint8], NDArray[np.int64]]
    labels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.train[0].shape[1:]


def load(name: str, root: Path, *, download: bool = False) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name
        One of ``NAMES``.
    root
        Folder in which torchvision's data sets lie; ``digits`` needs none.
    download
        Whether to fetch what is missing.

    Raises
    ------
    SourceError
        If there is no such name, or the files are not there.
    """
    if name == "digits":
        return _digits()
    if name not in TORCHVISION:
        raise SourceError(f"no data set is called {name!r}; there are {', '.join(NAMES)}")
    train, labels = _torchvision(name, root, train=True, download=download)
    test, _ = _torchvision(name, root, train=False, download=download)
    return Dataset(train, test, labels)


def jittered(
    images: NDArray[np.uint8], labels: NDArray[np.int64], count: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw a longer stream from few images: in random order, each shifted by up to one pixel either way.

    Parameters
    ----------
    images
        (n, height, width).
    labels
        (n,).
    count
        Length of the stream.
    seed
        Seed of order and shifts.
    """
    random = np.random.default_rng(seed)
    passes = -(-count // len(images))
    order = np.concatenate([random.permutation(len(images)) for _ in range(passes)])[:count]
    height, width = images.shape[1:]
    padded = np.pad(images[order], ((0, 0), (1, 1), (1, 1)))
    down, right = random.integers(0, 3, (2, count, 1))
    rows, columns = down + np.arange(height), right + np.arange(width)
    shifted = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return shifted, labels[order]


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # noqa: PLC0415  # heavy, and only this data set needs it

    bundle = load_digits()
    images = np.round(bundle.images * (255 / 16)).astype(np.uint8)
    labels = bundle.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    held, rest = order[:HELD_OUT], order[HELD_OUT:]
    return Dataset((images[rest], labels[rest]), (images[held], labels[held]), 10)


def _torchvision(
    name: str, root: Path, *, train: bool, download: bool
) -> tuple[tuple[NDArray[np.uint8], NDArray[np.int64]], int]:
    from torchvision import datasets  # noqa: PLC0415  # loads torch, which `ffstream feed FILE` does not need

    try:
        loaded: Any = getattr(datasets, TORCHVISION[name])(root, train=train, download=download)
    except (RuntimeError, OSError) as error:
        raise SourceError(
            f"{name} is not in {root}: name its folder with --data-root, or fetch it with --download"
        ) from error
    images = np.asarray(loaded.data)
    return (images, np.asarray(loaded.targets, dtype=np.int64)), len(getattr(loaded, "classes", range(10)))
