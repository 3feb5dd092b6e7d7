"""Negatives, whose goodness sleep lowers.

A negative is the same input under a wrong label, or a corrupted input. Every draw uses a generator that the caller
passes, so that a replay repeats it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeAlias

import torch
from torch import Generator, Tensor

from ffstream.config.network import Corruption

Corrupt: TypeAlias = Callable[[Tensor, Generator], Tensor]

# Standard deviation of the blur, in pixels.
BLUR_PIXELS = 2.0
# Number of times that the random values of a mask are blurred: its regions are then about π·√8 ≈ 9 pixels wide.
MASK_BLURS = 8
# Standard deviation of the noise, for pixels from 0 to 1.
NOISE = 0.3


def wrong_labels(logits: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Draw a wrong label for each row, from the softmax of logits over the other labels.

    Logits that are the mean goodness of the layers so far favor the labels that the network is most likely to confuse
    (the paper, section 3.3, "hard negatives"); logits of zero draw wrong labels uniformly.

    Parameters
    ----------
    logits
        (n, C).
    labels
        (n, 1) int64: true labels, which are not drawn.
    noise
        (n, C), exponentially distributed. Subtracting its logarithm adds Gumbel noise to the logits, whose largest is
        then a draw from the softmax, without a host round trip.

    Returns
    -------
    Tensor
        (n, 1) int64.
    """
    return (logits - noise.log()).scatter(1, labels, -torch.inf).argmax(1, keepdim=True)


def corrupt(kind: Corruption, rows: Tensor, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Return corrupted copies of rows, which lose what is real about the rows and keep most of what they share.

    Parameters
    ----------
    kind
        One of ``CORRUPTIONS``.
    rows
        (n, i) float32, values from 0 to 1.
    shape
        Shape of one sample of i values: (width,), (height, width), or (…, height, width), where the leading
        dimensions are channels. One dimension is an image of height 1.
    generator
        Draws the corruptions; on the device of the rows.

    Returns
    -------
    Tensor
        (n, i); ``rows`` does not change.
    """
    height = shape[-2] if len(shape) > 1 else 1
    images = rows.reshape(len(rows), math.prod(shape[:-2]), height, shape[-1])
    return CORRUPTIONS[kind](images, generator).reshape(rows.shape)


def blur(images: Tensor, _generator: Generator) -> Tensor:
    """Blur each channel with a Gaussian of ``BLUR_PIXELS``; (n, channels, height, width) in the same shape.

    At a border the Gaussian is cut off and renormalized. An image of one color does not change.
    """
    height, width = images.shape[-2:]
    return _gaussian(height, images.device) @ images @ _gaussian(width, images.device).T


def masks(images: Tensor, generator: Generator) -> Tensor:
    """Make hybrids: each image shows itself inside a random mask, and another image of the batch outside it.

    Correlations of near pixels are then those of real images, and those of far pixels are not (Hinton 2022, section
    3.2). The paper's mask is random bits, blurred several times with [¼, ½, ¼] in both directions, with a threshold of
    ½. This mask is random numbers, which look the same after the blur, with their own mean as the threshold, which is
    about ½: no mask shows all or nothing, however small the image. All channels share the mask.

    Parameters
    ----------
    images
        (n, channels, height, width). A single image is mixed with itself rotated by 180°, because a hybrid of an image
        with itself is that image.
    generator
        Draws the masks, and the pairs of images.
    """
    n, _, height, width = images.shape
    drawn = torch.rand(n, 1, height, width, generator=generator, device=images.device)
    field = _binomial(height, images.device) @ drawn @ _binomial(width, images.device).T
    own = field > field.mean((-2, -1), keepdim=True)
    return torch.where(own, images, _others(images, generator))


def noise(images: Tensor, generator: Generator) -> Tensor:
    """Add Gaussian noise of ``NOISE`` to each value, and clip at 0 and 1; (n, channels, height, width)."""
    drawn = torch.randn(images.shape, generator=generator, device=images.device)
    return drawn.mul_(NOISE).add_(images).clamp_(0, 1)


def shuffled(images: Tensor, generator: Generator) -> Tensor:
    """Permute the pixels of each image independently, all its channels alike; (n, channels, height, width)."""
    pixels = images.flatten(2)
    order = torch.rand(len(pixels), 1, pixels.shape[2], generator=generator, device=images.device).argsort(-1)
    return pixels.gather(2, order.expand_as(pixels)).view_as(images)


CORRUPTIONS: Mapping[Corruption, Corrupt] = {"blur": blur, "masks": masks, "noise": noise, "shuffled": shuffled}


def _others(images: Tensor, generator: Generator) -> Tensor:
    """Return another image of the batch for each image, each used once: the next one in a randomly ordered ring."""
    if len(images) == 1:
        return images.flip(-2, -1)
    ring = torch.randperm(len(images), generator=generator, device=images.device)
    others = torch.empty_like(ring)
    others[ring] = ring.roll(1)
    return images[others]


@cache
def _gaussian(length: int, device: torch.device) -> Tensor:
    """Return the matrix (length, length) that blurs a line of pixels with a Gaussian; its rows sum to 1."""
    place = torch.arange(length, dtype=torch.float32)
    weights = torch.exp(-((place - place[:, None]) ** 2) / (2 * BLUR_PIXELS**2))
    return (weights / weights.sum(1, keepdim=True)).to(device)


@cache
def _binomial(length: int, device: torch.device) -> Tensor:
    """Return the matrix (length, length) that blurs a line ``MASK_BLURS`` times; borders repeat their value."""
    place, pixels = torch.arange(length), torch.eye(length)
    once = pixels / 2 + (pixels[(place - 1).clamp_min(0)] + pixels[(place + 1).clamp_max(length - 1)]) / 4
    blurred: Tensor = torch.linalg.matrix_power(once, MASK_BLURS)
    return blurred.to(device)
