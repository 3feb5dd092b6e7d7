"""Images on a device, and their transformations there: shifting, mirroring, rotating, flattening to rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ffstream.data.datasets import Dataset

# Images rotated at once; their grids take 8 bytes per pixel.
ROTATED = 4_096


@dataclass(frozen=True)
class Labelled:
    """Images (n, *shape) uint8, and their labels (n,) int64, on one device."""

    images: Tensor
    labels: Tensor

    @classmethod
    def on(cls, device: torch.device, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Labelled:
        """Move images and labels to a device."""
        return cls(torch.from_numpy(np.ascontiguousarray(images)).to(device), torch.from_numpy(labels).to(device))

    def __len__(self) -> int:
        return len(self.labels)


def rows(images: Tensor) -> Tensor:
    """Return images (n, *shape) of bytes as rows (n, i) float32 in 0 … 1."""
    return images.flatten(1).float() / 255


def jittered(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each image (n, …, h, w) at random by up to ``pixels`` along both axes; vacated pixels are black."""
    n, height, width = len(images), *images.shape[-2:]
    planes = images.reshape(n, -1, height, width)
    padded = functional.pad(planes, [pixels] * 4)
    place = images.device
    down, right = torch.randint(0, 2 * pixels + 1, (2, n, 1, 1, 1), generator=generator, device=place)
    down, right = down + torch.arange(height, device=place)[:, None], right + torch.arange(width, device=place)
    image, plane = (torch.arange(size, device=place) for size in planes.shape[:2])
    return padded[image[:, None, None, None], plane[:, None, None], down, right].reshape(images.shape)


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror a random half of the images (n, …, h, w) left to right."""
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(chosen.view(-1, *[1] * (images.dim() - 1)), images.flip(-1), images)


def dropped(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Set a share of the values of images (n, …) to 0, each drawn independently."""
    kept = torch.rand(images.shape, generator=generator, device=images.device) >= share
    return images * kept


def rotated(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each image (n, …, h, w) of bytes about its center by its own angle (n,), counterclockwise; bilinear."""
    parts = zip(torch.split(images, ROTATED), torch.split(degrees, ROTATED), strict=True)
    return torch.cat([_rotated(*part) for part in parts])


def enlarged(data: Dataset, shape: Sequence[int]) -> Dataset:
    """Resize the images (n, h, w) of a data set to a shape of (height, width) or (channels, height, width)."""
    *channels, height, width = shape

    def resize(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        small = torch.from_numpy(images).unsqueeze(1).float()
        large = functional.interpolate(small, (height, width), mode="bilinear").round().byte()
        resized: NDArray[np.uint8] = large.expand(-1, *channels or (1,), -1, -1).reshape(-1, *shape).numpy()
        return resized

    return replace(data, train=(resize(data.train[0]), data.train[1]), test=(resize(data.test[0]), data.test[1]))


def _rotated(images: Tensor, degrees: Tensor) -> Tensor:
    n, height, width = len(images), *images.shape[-2:]
    angle = degrees * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    # Source of each pixel, in units of half an image; pixels are square.
    stretch = height / width
    turn = torch.stack([cos, -sin * stretch, zero, sin / stretch, cos, zero], 1).view(n, 2, 3)
    planes = images.reshape(n, -1, height, width).float()
    grid = functional.affine_grid(turn, list(planes.shape), align_corners=False)
    turned = functional.grid_sample(planes, grid, align_corners=False)
    return turned.round().byte().view(images.shape)
