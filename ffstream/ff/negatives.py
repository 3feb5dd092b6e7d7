"""Negatives: what sleep lowers the goodness of.

Either the same input under a wrong label, or without labels a corrupted input. Every draw is made with a generator
that the caller passes, so that a replay repeats it.
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
# How often the random bits of a mask are blurred: its regions are then about π·√8 ≈ 9 pixels wide.
MASK_BLURS = 8
# Standard deviation of the noise, where pixels are from 0 to 1.
NOISE = 0.3


def wrong_labels(logits: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Draw for each row a label that is not its own, from the softmax of logits over the others.

    Logits that are the mean goodness of the layers so far show the network what it is most likely to mistake (the
    paper, section 3.3, "hard negatives"); logits of zero draw each wrong label alike.

    Parameters
    ----------
    logits
        (n, C).
    labels
        (n, 1) int64: the labels not to be drawn.
    noise
        (n, C), exponentially distributed. Less its logarithm, which is Gumbel noise, the largest logit is a draw from
        the softmax, without a host round trip.

    Returns
    -------
    Tensor
        (n, 1) int64.
    """
    return (logits - noise.log()).scatter(1, labels, -torch.inf).argmax(1, keepdim=True)


def corrupt(kind: Corruption, rows: Tensor, shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Return corrupted copies of rows: what is real about them is gone, most of what is common to them is left.

    Parameters
    ----------
    kind
        One of ``CORRUPTIONS``.
    rows
        (n, i) float32, values from 0 to 1.
    shape
        Shape of one sample, of i values: (width,), (height, width), or (…, height, width), where whatever comes
        first is channels. One dimension is an image of height 1.
    generator
        On the device of the rows.

    Returns
    -------
    Tensor
        (n, i); ``rows`` are left alone.
    """
    height = shape[-2] if len(shape) > 1 else 1
    images = rows.reshape(len(rows), math.prod(shape[:-2]), height, shape[-1])
    return CORRUPTIONS[kind](images, generator).reshape(rows.shape)


def blur(images: Tensor, _generator: Generator) -> Tensor:
    """Blur each channel with a Gaussian of ``BLUR_PIXELS``; (n, channels, height, width) and the same back.

    At a border the Gaussian is cut off and what is left of it weighs more. An image of one colour stays as it is.
    """
    height, width = images.shape[-2:]
    return _gaussian(height, images.device) @ images @ _gaussian(width, images.device).T


def masks(images: Tensor, generator: Generator) -> Tensor:
    """Make hybrids: within a random mask each image shows itself, outside it another of the batch.

    So correlations of near pixels are those of real images, and those of far pixels are not (Hinton 2022, section
    3.2). There a mask is random bits, blurred several times with [¼, ½, ¼] in both directions, and cut at ½. Here it is
    random numbers, which so blurred are the same, cut at their own mean, which is about ½: so no mask shows all or
    nothing, however small the image. All channels share it.

    Parameters
    ----------
    images
        (n, channels, height, width). A single one meets itself turned by 180°, for a hybrid with itself is itself.
    generator
        Draws the masks, and who meets whom.
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
    """Permute the pixels, each image in a way of its own, all its channels alike; (n, channels, height, width)."""
    pixels = images.flatten(2)
    order = torch.rand(len(pixels), 1, pixels.shape[2], generator=generator, device=images.device).argsort(-1)
    return pixels.gather(2, order.expand_as(pixels)).view_as(images)


CORRUPTIONS: Mapping[Corruption, Corrupt] = {"blur": blur, "masks": masks, "noise": noise, "shuffled": shuffled}


def _others(images: Tensor, generator: Generator) -> Tensor:
    """Return for each image another of the batch, each once: the next one in a ring of random order."""
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
    """Return the matrix (length, length) that blurs a line ``MASK_BLURS`` times; a border continues with its value."""
    place, pixels = torch.arange(length), torch.eye(length)
    once = pixels / 2 + (pixels[(place - 1).clamp_min(0)] + pixels[(place + 1).clamp_max(length - 1)]) / 4
    blurred: Tensor = torch.linalg.matrix_power(once, MASK_BLURS)
    return blurred.to(device)
