"""Common style of a network's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Distinguishable with any color vision (Okabe and Ito).
COLOURS: Mapping[str, str] = {"real": "#0072B2", "negative": "#D55E00", "others": "#BBBBBB"}


def plain_axes(ax: Axes) -> None:
    """Hide the top and right sides of the frame."""
    ax.spines[["top", "right"]].set_visible(False)


def montage(tiles: Tensor, columns: int) -> Tensor:
    """Arrange tiles (k, h, w, …) in rows of ``columns``, separated by one pixel of NaN; (H, W, …)."""
    count, height, width, *channels = tiles.shape
    rows = -(-count // columns)
    made = tiles.new_full((rows * columns, height + 1, width + 1, *channels), torch.nan)
    made[:count, :height, :width] = tiles
    laid = made.view(rows, columns, *made.shape[1:]).transpose(1, 2).flatten(2, 3).flatten(0, 1)
    return laid[:-1, :-1]
