"""Fixtures: an engine that each test drives itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import Driven


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[Driven]:
    made = Driven(tmp_path)
    yield made
    made.close()
