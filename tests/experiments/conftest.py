from __future__ import annotations

from collections.abc import Callable

import pytest
from small_row import DECLARED

from ffstream.config import validate
from ffstream.experiments.row import Row


@pytest.fixture
def declare() -> Callable[..., Row]:
    """Declare a small row, changed by keys."""
    return lambda **changes: validate(Row, {**DECLARED, **changes}, "test")
