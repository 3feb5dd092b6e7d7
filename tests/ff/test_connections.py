"""How weights meet an image, held against torch's own convolution and against loops over places."""

from __future__ import annotations

import pytest
import torch
from plain_forward import relative_error, seeded
from torch import Tensor
from torch.nn import functional

from ffstream.ff.connections import Connection, Convolution, Dense, Field, Local

BELOW, UNITS, ROWS, PATHS = (3, 5, 7), 4, 2, 3
FIELDS = [(1, 1, 0), (3, 1, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0), (5, 3, 2)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def as_image(x: Tensor) -> Tensor:
    """See rows (n, p, i), place by place, as images (n * p, channels, height, width)."""
    channels, height, width = BELOW
    return torch.stack([row.view(height, width, channels).permute(2, 0, 1) for row in x.flatten(0, 1)])


def as_rows(images: Tensor) -> Tensor:
    """Lay images (n * p, channels, height, width) place by place; (n, p, i)."""
    return torch.stack([image.permute(1, 2, 0).flatten() for image in images]).view(ROWS, PATHS, -1)


def convolved(x: Tensor, weight: Tensor, field: Field) -> Tensor:
    kernels = weight.view(-1, BELOW[0], field.kernel, field.kernel)
    return as_rows(functional.conv2d(as_image(x), kernels, stride=field.stride, padding=field.padding))


def place_by_place(x: Tensor, weight: Tensor, field: Field) -> Tensor:
    """Multiply each window, cut out of a padded image, with the weights of its place."""
    images = functional.pad(as_image(x), (field.padding,) * 4)
    rows, columns = field.places
    each = weight.view(rows, columns, UNITS, -1)
    made = torch.zeros(len(images), UNITS, rows, columns, dtype=x.dtype)
    for row in range(rows):
        for column in range(columns):
            top, left = row * field.stride, column * field.stride
            window = images[:, :, top : top + field.kernel, left : left + field.kernel].flatten(1)
            made[:, :, row, column] = window @ each[row, column].T
    return as_rows(made)


def make(kind: str, geometry: tuple[int, int, int]) -> tuple[Connection, Field]:
    field = Field(BELOW, *geometry)
    rows, columns = field.places
    if kind == "convolution":
        return Convolution(drawn(UNITS, field.inputs), field), field
    return Local(drawn(rows * columns * UNITS, field.inputs), field), field


PLAIN = {"convolution": convolved, "local": place_by_place}


@pytest.mark.parametrize("geometry", FIELDS, ids=str)
@pytest.mark.parametrize("kind", PLAIN)
def test_forward_is_that_of_the_plain_formula(kind, geometry):
    connection, field = make(kind, geometry)
    x = drawn(ROWS, PATHS, 3 * 5 * 7, seed=1)
    torch.testing.assert_close(connection.forward(x), PLAIN[kind](x, connection.weight, field))


@pytest.mark.parametrize("geometry", FIELDS, ids=str)
@pytest.mark.parametrize("kind", PLAIN)
def test_the_gradient_is_that_of_autograd(kind, geometry):
    connection, field = make(kind, geometry)
    x = drawn(ROWS, PATHS, 3 * 5 * 7, seed=1)
    weight = connection.weight.clone().requires_grad_()
    made = PLAIN[kind](x, weight, field)
    delta = drawn(*made.shape, seed=2)
    (made * delta).sum().backward()
    found = torch.zeros_like(connection.weight)
    connection.gradient(delta, x, None).accumulate(found, 0.0, 1.0)
    assert relative_error(found, weight.grad) < 1e-12


def test_a_dense_layer_is_one_product_of_which_each_path_teaches():
    connection, x, delta = Dense(drawn(UNITS, 6)), drawn(ROWS, PATHS, 6, seed=1), drawn(ROWS, PATHS, UNITS, seed=2)
    torch.testing.assert_close(connection.forward(x), torch.einsum("npi,ui->npu", x, connection.weight))
    found = torch.ones_like(connection.weight)
    connection.gradient(delta, x, None).accumulate(found, 0.5, 2.0)
    torch.testing.assert_close(found, 0.5 + 2 * torch.einsum("npu,npi->ui", delta, x))


def test_a_place_of_a_local_layer_sees_its_window_alone():
    connection, field = make("local", (3, 2, 0))
    x = torch.zeros(1, 1, 3 * 5 * 7, dtype=torch.float64)
    x.view(5, 7, 3)[:3, :3] = drawn(3, 3, 3)
    made = connection.forward(x).view(*field.places, UNITS)
    assert made[0, 0].all()
    assert not made[:, 2:].any()
