"""Readers of files that can be fed or predicted: arrays, CSV, JSON lines, images."""

from __future__ import annotations

import csv
import json
import math
import operator
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ffstream.errors import SourceError

Inputs: TypeAlias = NDArray[Any]
Samples: TypeAlias = tuple[Inputs, NDArray[np.int64]]
# Errors that NumPy and the zip layer below it raise on malformed files.
_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
# Label of an unlabeled sample; the same value as in the protocol, which this package does not import.
UNLABELLED = -1
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def read_samples(path: Path, shape: tuple[int, ...]) -> Samples:
    """Read samples from a file or a folder of images; unlabeled samples get the label -1.

    ``.npz`` holds ``inputs`` (n, *shape) and ``labels`` (n,). ``.npy`` holds the inputs, and ``NAME.labels.npy`` next
    to it holds the labels, if any. ``.csv`` has the label in the column ``label`` (without such a heading, in the first
    column) and the sample's values in the others. A folder has one subfolder of images per label, in alphabetical
    order, or only unlabeled images. ``.jsonl`` has the lines that ``read_lines`` reads.

    Raises
    ------
    SourceError
        If a file is malformed; the message names the file, the place, and what was expected.
    """
    if path.is_dir():
        return _folder(path, shape)
    match path.suffix:
        case ".npz":
            return _paired(_entry(path, "inputs"), _entry(path, "labels"), path)
        case ".npy":
            labels = path.with_suffix(".labels.npy")
            if labels.exists():
                return _paired(_array(path), _array(labels), labels)
            inputs = read_inputs(path, shape)
            return inputs, np.full(len(inputs), UNLABELLED, np.int64)
        case ".csv":
            return _csv(path, shape)
        case ".jsonl":
            return _jsonl(path, shape)
    raise SourceError(f"{path}: expected .npz, .npy, .csv, .jsonl or a folder of images")


def read_inputs(path: Path, shape: tuple[int, ...]) -> Inputs:
    """Read unlabeled inputs (n, *shape) from an image, ``.npy`` or ``.npz``; a single sample becomes a batch of one."""
    if path.suffix.lower() in IMAGES:
        return read_image(path, shape)[None]
    match path.suffix:
        case ".npy":
            inputs = _array(path)
        case ".npz":
            inputs = _entry(path, "inputs")
        case _:
            raise SourceError(f"{path}: expected an image ({', '.join(IMAGES)}), .npy or .npz")
    return inputs[None] if inputs.shape == shape else inputs


def read_lines(lines: Iterable[str], shape: tuple[int, ...], *, batch: int) -> Iterator[Samples]:
    """Read JSON lines in batches; a line is ``{"inputs": [...], "label": 3}``, its inputs flat or nested.

    A line without a label, or a bare list of inputs, gets the label -1.
    """
    inputs: list[NDArray[np.float32]] = []
    labels: list[int] = []
    for number, line in enumerate(_text(lines), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            values, label = (entry["inputs"], entry.get("label")) if isinstance(entry, dict) else (entry, None)
            inputs.append(np.asarray(values, np.float32).reshape(shape))
            labels.append(UNLABELLED if label is None else int(np.int64(operator.index(label))))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            form = '{"inputs": [...], "label": 3}, the label an integer or left out, or a list of numbers'
            raise SourceError(
                f"line {number}: expected {form}, with {math.prod(shape)} values: {type(error).__name__}: {error}"
            ) from error
        if len(inputs) == batch:
            yield np.stack(inputs), np.asarray(labels, np.int64)
            inputs, labels = [], []
    if inputs:
        yield np.stack(inputs), np.asarray(labels, np.int64)


def _text(lines: Iterable[str]) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise SourceError(f"expected lines of UTF-8: {error}") from error


def read_image(path: Path | IO[bytes], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read an image and resize it to ``shape``: ([1,] height, width) in gray, (3, height, width) in color."""
    from PIL import Image  # noqa: PLC0415  # Pillow comes with torchvision; a client may lack it

    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] not in (1, 3)):
        raise SourceError(
            f"{path}: an image cannot become a sample of shape {shape}; the shape must be (height, width), or have "
            "one or three channels first"
        )
    *channels, height, width = shape
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB" if channels == [3] else "L").resize((width, height)))
            return np.ascontiguousarray(np.moveaxis(pixels, -1, 0)) if pixels.ndim == 3 else pixels.reshape(shape)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"{path}: cannot be read as an image: {_why(error)}") from error


def _folder(path: Path, shape: tuple[int, ...]) -> Samples:
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    labelled = [(file, label) for label, folder in enumerate(folders) for file in _images(folder)]
    files = labelled or [(file, UNLABELLED) for file in _images(path)]
    if not files:
        raise SourceError(f"{path}: expected a subfolder of images for each label, or images, but found no image")
    images = np.stack([read_image(file, shape) for file, _ in files])
    return images, np.asarray([label for _, label in files], np.int64)


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGES)


def _paired(inputs: NDArray[Any], labels: NDArray[Any], path: Path) -> Samples:
    """Check the labels read from ``path`` against their inputs, and return both."""
    if labels.dtype.kind not in "iu":
        raise SourceError(f"{path}: expected integer labels, found {labels.dtype}")
    if labels.shape != inputs.shape[:1]:
        raise SourceError(f"{path}: expected one label per sample: inputs are {inputs.shape}, labels {labels.shape}")
    return inputs, labels.astype(np.int64)


def _array(path: Path) -> NDArray[Any]:
    array: NDArray[Any] | dict[str, NDArray[Any]] = _load(path)
    if isinstance(array, dict):
        raise SourceError(f"{path}: expected a single array, found an archive of {', '.join(array)}")
    return _numbers(array, path)


def _entry(path: Path, name: str) -> NDArray[Any]:
    archive = _load(path)
    if not isinstance(archive, dict):
        raise SourceError(f"{path}: expected an archive of arrays, found a single one")
    if name not in archive:
        raise SourceError(f"{path}: expected an array called {name!r}, found {', '.join(archive) or 'none'}")
    return _numbers(archive[name], path)


def _numbers(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.ndim == 0:
        raise SourceError(f"{path}: expected an array of samples, found a single number")
    if array.dtype.kind not in "biuf":
        raise SourceError(f"{path}: expected numbers, found {array.dtype}")
    return array


def _load(path: Path) -> Any:
    try:
        # Pickled objects could run untrusted code, so NumPy refuses them. An archive is read fully here.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
    except _DAMAGED as error:
        raise SourceError(f"{path}: cannot be read: {_why(error)}") from error


def _jsonl(path: Path, shape: tuple[int, ...]) -> Samples:
    try:
        with path.open(encoding="utf-8") as lines:
            read = list(read_lines(lines, shape, batch=1_024))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {_why(error)}") from error
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    read = read or [(np.empty((0, *shape), np.float32), np.empty(0, np.int64))]
    return np.concatenate([inputs for inputs, _ in read]), np.concatenate([labels for _, labels in read])


def _csv(path: Path, shape: tuple[int, ...]) -> Samples:
    try:
        with path.open(newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}: cannot be read: {_why(error)}") from error
    heading = bool(lines) and any(not _is_number(cell) for cell in lines[0])
    column = lines[0].index("label") if heading and "label" in lines[0] else 0
    body = [(number, cells) for number, cells in enumerate(lines, start=1) if cells and number > heading]
    inputs = np.empty((len(body), math.prod(shape)), np.float32)
    labels = np.empty(len(body), np.int64)
    for row, (number, cells) in enumerate(body):
        try:
            labels[row] = int(cells[column])
            # NumPy would broadcast a single number over the whole row.
            inputs[row] = np.asarray(cells[:column] + cells[column + 1 :], np.float32).reshape(inputs.shape[1])
        except (ValueError, IndexError, OverflowError) as error:
            where = f"{path}: line {number}"
            raise SourceError(f"{where}: expected a label and {inputs.shape[1]} numbers: {error}") from error
    return inputs.reshape(-1, *shape), labels


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
