from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_row import DECLARED

from ffstream.config import validate
from ffstream.experiments.row import Row


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def declare() -> Callable[..., Row]:
    """Declare a small row, changed by keys."""
    return lambda **changes: validate(Row, {**DECLARED, **changes}, "test")
