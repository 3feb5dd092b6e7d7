"""Where the rows of a sweep are laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# From here on a bucket is this many rows wider than the one before; below, twice as wide.
STRIDE = 8


def bucket(rows: int) -> int:
    """Return up to how many rows so many are filled, so that few different numbers of them occur.

    The first product of a number of rows takes some milliseconds more, in which its kernel is made.
    """
    return -(-rows // STRIDE) * STRIDE if rows > STRIDE else 1 << max(0, rows - 1).bit_length()


class Staging:
    """Room for the rows of one sweep, used again for every sweep.

    Parameters
    ----------
    rows
        Rows of the largest sweep.
    width
        Values in one row.
    """

    def __init__(self, rows: int, width: int) -> None:
        self._rows = np.zeros((bucket(rows), width), np.float32)

    def fill(self, learned: Sequence[NDArray[Any]], asked: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Copy arrays (k, *shape) end to end, as float32; bytes become 0 … 1.

        Rows that are asked about are filled up with zeros to a bucket: how many there are varies from sweep to sweep.

        Returns (n, width), a view that the next call writes over.
        """
        end = 0
        for array in (*learned, *asked):
            rows = self._rows[end : end + len(array)]
            if array.dtype == np.uint8:
                np.multiply(array.reshape(rows.shape), np.float32(1 / 255), out=rows)
            else:
                rows[...] = array.reshape(rows.shape)
            end += len(array)
        full = bucket(end) if asked else end
        self._rows[end:full] = 0
        return self._rows[:full]
