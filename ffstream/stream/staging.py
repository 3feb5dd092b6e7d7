"""Staging buffers that hold the rows of a sweep end to end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# From this size on, each bucket has this many rows more than the one before; below, twice as many.
STRIDE = 8


def bucket(rows: int) -> int:
    """Return the number of rows to which ``rows`` are padded, so that few different numbers occur.

    The first product with a new number of rows takes some milliseconds more, to make its kernel.
    """
    return -(-rows // STRIDE) * STRIDE if rows > STRIDE else 1 << max(0, rows - 1).bit_length()


class Staging:
    """Buffer for the rows of one sweep, reused by every sweep.

    A GPU copies the rows asynchronously from pinned memory, while a second buffer takes the next sweep's rows.

    Parameters
    ----------
    rows
        Rows of the largest sweep.
    width
        Values in one row.
    device
        Device that sweeps them.
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

        A sweep with query rows is padded with zeros to a bucket, because their number varies from sweep to sweep.

        Returns
        -------
        tuple
            (n, width), a view that the next call overwrites, and the same on the device.
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
