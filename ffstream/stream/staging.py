"""Where the rows of a sweep are laid end to end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# From here on a bucket is this many rows wider than the one before; below, twice as wide.
STRIDE = 8


def bucket(rows: int) -> int:
    """Return up to how many rows so many are filled, so that few different numbers of them occur.

    The first product of a number of rows takes some milliseconds more, in which its kernel is made.
    """
    return -(-rows // STRIDE) * STRIDE if rows > STRIDE else 1 << max(0, rows - 1).bit_length()


class Staging:
    """Room for the rows of one sweep, used again for every sweep.

    A GPU fetches them by itself, from memory that stays where it is, while the next sweep's are laid beside.

    Parameters
    ----------
    rows
        Rows of the largest sweep.
    width
        Values in one row.
    device
        Where they are swept.
    """

    def __init__(self, rows: int, width: int, device: torch.device) -> None:
        self._device = device
        fetched = device.type == "cuda"
        rooms = [torch.zeros(bucket(rows), width, pin_memory=fetched) for _ in range(2 if fetched else 1)]
        events = [torch.cuda.Event() if fetched else None for _ in rooms]  # type: ignore[no-untyped-call]  # has no annotations
        self._rooms = itertools.cycle(zip(rooms, events, strict=True))

    def fill(
        self, learned: Sequence[NDArray[Any]], asked: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], Tensor]:
        """Copy arrays (k, *shape) end to end, as float32; bytes become 0 … 1.

        Rows that are asked about are filled up with zeros to a bucket: how many there are varies from sweep to sweep.

        Returns
        -------
        tuple
            (n, width), a view that the next call writes over, and the same on the device.
        """
        room, fetched = next(self._rooms)
        if fetched is not None:
            fetched.synchronize()
        laid: NDArray[np.float32] = room.numpy()
        end = 0
        for array in (*learned, *asked):
            rows = laid[end : end + len(array)]
            if array.dtype == np.uint8:
                np.multiply(array.reshape(rows.shape), np.float32(1 / 255), out=rows)
            else:
                rows[...] = array.reshape(rows.shape)
            end += len(array)
        full = bucket(end) if asked else end
        laid[end:full] = 0
        sent = room[:full].to(self._device, non_blocking=True)
        if fetched is not None:
            fetched.record()
        return laid[:full], sent
