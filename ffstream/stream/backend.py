"""Device, precision, products and loop that sweeps run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# How the loop through the layers runs: as it is written because engine.compile is false, while it is compiled, or
# because that failed; or compiled.
Loop = Literal["off", "compiling", "failed", "compiled"]


@dataclass(frozen=True)
class Backend:
    """Device, precision, products and loop that sweeps run on.

    Attributes
    ----------
    device, precision, threads
        Where, in which type, and on how many threads of a processor.
    loop
        How the loop through the layers runs.
    reason
        Why that is so, where it failed; else ``""``.
    products
        How each layer is multiplied: a way, or three by the number of rows.
    """

    device: str
    precision: str
    threads: int
    loop: Loop
    reason: str
    products: list[str]

    def __str__(self) -> str:
        ways = ", ".join(dict.fromkeys(self.products))
        return f"{self.device}, {self.precision}, threads: {self.threads}, loop: {self.loop}, products: {ways}"
