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
    Grid(4, 6, 3, regions=2, alike=False),
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
    assert torch.equal(grid.part(counted(grid)).flatten(3), torch.stack(expected, 2).flatten(3))


@pytest.mark.parametrize(("regions", "places"), [(1, 24), (2, 6), (0, 1)])
@pytest.mark.parametrize("alike", [True, False])
def test_a_region_has_its_share_of_the_places_each_with_the_same_units_or_with_its_own(regions, places, alike):
    grid = Grid(4, 6, 3, regions, alike)
    assert (grid.places, grid.size) == (24, 72)
    assert grid.region == ((places, 3) if alike else (1, places * 3))


@pytest.mark.parametrize("regions", [1, 2, 0])
def test_units_of_their_own_lie_as_those_of_places_do(regions):
    alike, own = Grid(4, 6, 3, regions), Grid(4, 6, 3, regions, alike=False)
    assert torch.equal(own.part(counted(own)).flatten(3), alike.part(counted(alike)).flatten(3))
