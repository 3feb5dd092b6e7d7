"""Device, folders and sizes of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch


class Case(NamedTuple):
    """A net, a number of rows per sweep, and a precision."""

    net: str
    batch: int
    precision: str

    def __str__(self) -> str:
        return f"{self.net}, {self.batch} rows, {self.precision}"


# 512 rows fill the card; at 1 and 16 it waits for the host.
CASES = (
    Case("784-4x2000", 512, "bfloat16"),
    Case("784-4x2000", 1, "float32"),
    Case("784-512-512", 16, "float32"),
    Case("784-512-512", 1, "float32"),
    Case("784-512-512", 16, "bfloat16"),
    Case("784-4x2000", 512, "float32"),
    Case("784-512-512", 512, "bfloat16"),
    Case("784-4x2000", 16, "bfloat16"),
    Case("784-4x2000", 1, "bfloat16"),
    Case("784-4x2000", 1024, "bfloat16"),
)
DRY_CASES = (Case("20-30-30", 4, "float32"),)


@dataclass(frozen=True)
class Site:
    """Device and folders of a stage.

    Attributes
    ----------
    device
        The device that is measured.
    out
        Results folder, for traces.
    folder
        Folder for daemons, removed at the end.
    dry
        True for tiny sizes, because nothing is measured.
    """

    device: torch.device
    out: Path
    folder: Path
    dry: bool

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases, the most informative first."""
        return DRY_CASES if self.dry else CASES

    @property
    def net(self) -> str:
        """The net of a daemon."""
        return "20-30-30" if self.dry else "784-512-512"
