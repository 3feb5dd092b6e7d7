"""Device, precision, products and loop that sweeps run on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# State of the loop through the layers: uncompiled because engine.compile is false, because it is still being compiled,
# or because that failed; or compiled.
Loop = Literal["off", "compiling", "failed", "compiled"]


@dataclass(frozen=True)
class Backend:
    """Device, precision, products and loop that sweeps run on.

    Attributes
    ----------
    device, precision, threads
        Device, number type, and number of CPU threads.
    loop
        State of the loop through the layers.
    reason
        Reason why compiling failed, if it did; else ``""``.
    products
        Way to multiply each layer: one way, or three by the number of rows.
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
