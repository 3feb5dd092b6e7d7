"""Layout of a layer's units: places of an image, units at each place, regions of places."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Places (height by width) with some units each; a dense layer is one place.

    Between layers a row is flat, place by place, with the units of a place together.

    Attributes
    ----------
    regions
        Number of regions per side, each with its own goodness; 0 makes every place a region.
    alike
        True if all places share their units, as in a convolution; otherwise each unit of a region is distinct.
    """

    height: int
    width: int
    units: int
    regions: int = 1
    alike: bool = True

    @property
    def places(self) -> int:
        """Number of places."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """Number of values per row."""
        return self.places * self.units

    @property
    def region(self) -> tuple[int, int]:
        """Number of places l and of distinct units u in a region."""
        places = 1 if self.regions == 0 else self.places // self.regions**2
        return (places, self.units) if self.alike else (1, places * self.units)

    def part(self, rows: Tensor) -> Tensor:
        """Split flat rows (n, p, places * units) into regions r, places l and units u; (n, p, r, l, u)."""
        n, paths = rows.shape[:2]
        if self.regions > 1:
            side = self.regions
            grid = rows.view(n, paths, side, self.height // side, side, self.width // side, self.units)
            rows = grid.transpose(3, 4)
        places, units = self.region
        return rows.reshape(n, paths, self.size // (places * units), places, units)

    def join(self, parts: Tensor) -> Tensor:
        """Undo ``part``: flatten rows again."""
        n, paths = parts.shape[:2]
        if self.regions > 1:
            side = self.regions
            parts = parts.reshape(n, paths, side, side, self.height // side, self.width // side, self.units)
            parts = parts.transpose(3, 4)
        return parts.reshape(n, paths, self.size)
