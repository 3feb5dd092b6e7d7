"""Data sets by name: scikit-learn's bundled digits, torchvision's from a folder, and CIFAR-10 from image files."""

from __future__ import annotations

import math
import shlex
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffstream.data.files import Samples, read_samples
from ffstream.errors import InstallError, SourceError


@dataclass(frozen=True)
class Known:
    """Facts about a data set that are known without reading it.

    Attributes
    ----------
    shape
        Shape of one image: (height, width), or (3, height, width) in color.
    labels
        Number of labels.
    torchvision
        Name of its class in torchvision.datasets, which takes (root, train, download) and holds all images in memory;
        empty for a data set from another source.
    """

    shape: tuple[int, ...]
    labels: int
    torchvision: str = ""


KNOWN = {
    "digits": Known((8, 8), 10),
    "mnist": Known((28, 28), 10, "MNIST"),
    "fashion-mnist": Known((28, 28), 10, "FashionMNIST"),
    "kmnist": Known((28, 28), 10, "KMNIST"),
    "cifar10": Known((3, 32, 32), 10, "CIFAR10"),
    "cifar100": Known((3, 32, 32), 100, "CIFAR100"),
    "usps": Known((16, 16), 10, "USPS"),
}
NAMES = tuple(KNOWN)
# Data sets that torchvision stores as IDX files; they are read without torchvision.
IDX = ("mnist", "fashion-mnist", "kmnist")

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HELD_OUT = 360


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes
    ----------
    train, test
        Images (n, *shape) uint8, gray (height, width) or color (3, height, width), and labels (n,) int64.
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


def known(name: str) -> Known:
    """Return the facts about a data set without reading it; raise SourceError if the name is unknown."""
    if name not in KNOWN:
        raise SourceError(f"no data set is called {name!r}; there are {', '.join(NAMES)}")
    return KNOWN[name]


def load(name: str, root: Path, *, download: bool = False) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name
        One of ``NAMES``.
    root
        Folder of torchvision's data sets; ``digits`` needs none. ``cifar10`` may also be stored there as image files,
        ``train/airplane/0001.jpg`` and so on, in the folder itself or in its subfolder ``CIFAR-10-images``. The decoded
        images are cached next to them as ``train.npz`` and ``test.npz`` if the folder is writable.
    download
        If true, download missing files.

    Raises
    ------
    SourceError
        If the name is unknown, or the files are missing.
    InstallError
        If torchvision is needed, but does not fit the installed torch; it is needed to download, and for CIFAR and
        USPS.
    """
    labels = known(name).labels
    if name == "digits":
        return Dataset(*_digits(), labels)
    if name == "cifar10" and (folder := _pictures(root)) is not None:
        return Dataset(_decoded(folder / "train"), _decoded(folder / "test"), labels)
    if name in IDX:
        if (found := _idx(root / KNOWN[name].torchvision / "raw")) is not None:
            return Dataset(*found, labels)
        if not download:
            raise _missing(name, root)
    train, test = (_torchvision(name, root, train=train, download=download) for train in (True, False))
    return Dataset(train, test, labels)


def jittered(
    images: NDArray[np.uint8], labels: NDArray[np.int64], count: int, seed: int, pixels: int = 1
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw a longer stream from a few images, in random order, each shifted by up to ``pixels`` along both axes.

    Parameters
    ----------
    images
        (n, height, width) or (n, channels, height, width).
    labels
        (n,).
    count
        Length of the stream.
    seed
        Seed of order and shifts.
    pixels
        Largest shift in pixels, up or down and left or right; vacated pixels are black.
    """
    random = np.random.default_rng(seed)
    passes = -(-count // len(images))
    order = np.concatenate([random.permutation(len(images)) for _ in range(passes)])[:count]
    height, width = images.shape[-2:]
    planes = images[order].reshape(count, -1, height, width)
    padded = np.pad(planes, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
    down, right = random.integers(0, 2 * pixels + 1, (2, count, 1, 1, 1))
    rows, columns = down + np.arange(height)[:, None], right + np.arange(width)
    image, plane = np.ogrid[:count, : planes.shape[1]]
    shifted = padded[image[..., None, None], plane[..., None, None], rows, columns]
    return shifted.reshape(count, *images.shape[1:]), labels[order]


def _digits() -> tuple[Samples, Samples]:
    from sklearn.datasets import load_digits  # noqa: PLC0415  # heavy, and only this data set needs it

    bundle = load_digits()
    images = np.round(bundle.images * (255 / 16)).astype(np.uint8)
    labels = bundle.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    held, rest = order[:HELD_OUT], order[HELD_OUT:]
    return (images[rest], labels[rest]), (images[held], labels[held])


def _torchvision(name: str, root: Path, *, train: bool, download: bool) -> Samples:
    datasets = _torchvision_datasets()
    try:
        loaded: Any = getattr(datasets, KNOWN[name].torchvision)(root, train=train, download=download)
    except (RuntimeError, OSError) as error:
        if download:
            raise SourceError(f"{name} cannot be fetched to {root}: {error}") from error
        raise _missing(name, root) from error
    images = np.asarray(loaded.data)
    if images.ndim == 4:
        images = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    return images, np.asarray(loaded.targets, dtype=np.int64)


def _torchvision_datasets() -> Any:
    """Import torchvision; raise InstallError if its wheel was built for another version of torch."""
    try:
        from torchvision import datasets  # noqa: PLC0415  # heavy, and only some data sets need it
    except ModuleNotFoundError:
        raise
    except (ImportError, RuntimeError, OSError) as error:
        raise InstallError(
            f"the installed torchvision does not fit the installed torch ({error}). Install a pair that fits:\n"
            "  pip uninstall --yes torch torchvision\n"
            "  pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu\n"
            "or, for a GPU, the second command without --index-url"
        ) from error
    return datasets


def _missing(name: str, root: Path) -> SourceError:
    return SourceError(
        f"{name} is not in {root}: give its folder with --data-root, or fetch it with "
        f"ffstream demo --dataset {name} --data-root {shlex.quote(str(root))} --download"
    )


def _idx(folder: Path) -> tuple[Samples, Samples] | None:
    """Read the training and test parts of a data set from torchvision's four IDX files; None if one is missing."""
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    files = [[folder / f"{part}-{kind}" for kind in kinds] for part in ("train", "t10k")]
    if not all(file.is_file() for part in files for file in part):
        return None
    train, test = ((_bytes(images, 3), _bytes(labels, 1).astype(np.int64)) for images, labels in files)
    return train, test


def _bytes(file: Path, axes: int) -> NDArray[np.uint8]:
    """Read an IDX file: type, number of axes, length of each axis as a big-endian integer, and values."""
    try:
        content = np.fromfile(file, np.uint8)
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error}") from error
    start = 4 + 4 * axes
    shape = content[4:start].tobytes()
    sizes = [int.from_bytes(shape[place : place + 4], "big") for place in range(0, len(shape), 4)]
    # Type 8 is unsigned byte.
    if content[:4].tolist() != [0, 0, 8, axes] or len(content) != start + math.prod(sizes):
        raise SourceError(f"{file}: is damaged; fetch it again with --download")
    return content[start:].reshape(sizes)


def _pictures(root: Path) -> Path | None:
    """Return the folder of CIFAR-10's image files; None if there is none, or torchvision's lossless files exist."""
    if (root / "cifar-10-batches-py").is_dir():
        return None
    for folder in (root, root / "CIFAR-10-images"):
        if all(_folders(folder / part) == {*CIFAR10} for part in ("train", "test")):
            return folder
    return None


def _folders(path: Path) -> set[str]:
    return {folder.name for folder in path.iterdir() if folder.is_dir()} if path.is_dir() else set()


def _decoded(folder: Path) -> Samples:
    """Read a folder of images, or its cache from an earlier call if no file was added or removed since."""
    kept = folder.with_suffix(".npz")
    with suppress(OSError, SourceError):
        changed = max(part.stat().st_mtime_ns for part in (folder, *folder.iterdir()))
        if kept.stat().st_mtime_ns > changed:
            return read_samples(kept, (3, 32, 32))
    images, labels = read_samples(folder, (3, 32, 32))
    # The cache is written atomically, or not at all if the folder is read-only.
    with suppress(OSError), tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        made = Path(beside) / kept.name
        np.savez(made, inputs=images, labels=labels)
        made.replace(kept)
    return images, labels
