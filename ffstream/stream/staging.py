"""Where the rows of a sweep are laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        self._rows = np.zeros((rows, width), np.float32)

    def fill(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Copy arrays (k, *shape) end to end, as float32; bytes become 0 … 1.

        Returns (n, width), a view that the next call writes over.
        """
        end = 0
        for array in arrays:
            rows = self._rows[end : end + len(array)]
            if array.dtype == np.uint8:
                np.multiply(array.reshape(rows.shape), np.float32(1 / 255), out=rows)
            else:
                rows[...] = array.reshape(rows.shape)
            end += len(array)
        return self._rows[:end]
