"""Places and regions of an image: what is parted comes back in its place."""

from __future__ import annotations

import itertools

import pytest
import torch

from ffstream.ff.grid import Grid

GRIDS = [
    Grid(1, 1, 5),
    Grid(4, 6, 3),
    Grid(4, 6, 3, regions=2),
    Grid(6, 6, 2, regions=3),
    Grid(4, 6, 3, regions=0),
    Grid(1, 7, 2, regions=0),
]


def counted(grid: Grid) -> torch.Tensor:
    """Number every value of two rows of three paths; (2, 3, size)."""
    return torch.arange(2 * 3 * grid.size).view(2, 3, grid.size)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_joining_lays_back_what_was_parted(grid):
    assert torch.equal(grid.join(grid.part(counted(grid))), counted(grid))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_each_region_holds_its_own_places(grid):
    image = counted(grid).view(2, 3, grid.height, grid.width, grid.units)
    tall, wide = (grid.height // grid.regions, grid.width // grid.regions) if grid.regions else (1, 1)
    corners = itertools.product(range(0, grid.height, tall), range(0, grid.width, wide))
    expected = [image[:, :, top : top + tall, left : left + wide].flatten(2, 3) for top, left in corners]
    assert torch.equal(grid.part(counted(grid)), torch.stack(expected, 2))


@pytest.mark.parametrize(("regions", "region"), [(1, 24), (2, 6), (0, 1)])
def test_a_region_has_its_share_of_the_places(regions, region):
    grid = Grid(4, 6, 3, regions)
    assert (grid.places, grid.size, grid.region) == (24, 72, region)
