"""The product of inputs and weights, in the precision and in the way that are fastest on the device at hand.

Which way that is depends on the number of rows and on who made the processor; ``docs/speed.md`` has the measurements.
A processor always takes the same way, so that a replay repeats what it replays to the last bit.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config.network import Precision

# Rows at which weights of at least so many values are multiplied from the left: elsewhere, and by Intel's own library.
FROM_LEFT, WIDE = range(16, 65), 2**21
FROM_LEFT_BY_MKL = range(16, 49)


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type that a precision names; ``auto`` is bfloat16 where the device multiplies it faster."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        # Intel's processors multiply bfloat16 in their tiles. Where a virtual machine hides these, what is left of it,
        # AVX512-BF16, runs at half the speed of float32.
        faster = able.get("amx_bf16", False) or (able.get("avx512_bf16", False) and not of_intel())
    return torch.bfloat16 if faster else torch.float32


@cache
def of_intel() -> bool:
    """Whether the processor is one of Intel's."""
    return "Intel" in str(torch.cpu.get_capabilities().get("cpu_name", ""))


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply inputs (n, p, i) with weights (u, i), in the way that is fastest for so many rows; (n, p, u)."""
    if x.is_cuda:
        return x @ weight.T
    rows = x.flatten(0, 1)
    if len(rows) == 1:
        return multiply_one(x, weight)
    # torch gives float32 to MKL, which uses half of the vector width of an AMD processor; oneDNN uses all of it.
    by_mkl = weight.dtype == torch.float32 and of_intel()
    dot = _onednn if weight.dtype == torch.float32 and not by_mkl and _has_onednn() else functional.linear
    if len(rows) in FROM_LEFT_BY_MKL if by_mkl else len(rows) in FROM_LEFT and weight.numel() >= WIDE:
        # The weights from the left take half to 9/10 of the time, and what comes out must be turned.
        product = dot(weight, rows).T.contiguous()
    else:
        product = dot(rows, weight)
    return product.view(*x.shape[:2], len(weight))


@torch.compile
def multiply_one(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply one row (1, 1, i), at the speed at which the weights can be read; a BLAS takes 2 to 3 times as long."""
    return (weight.float() * x.float()[0]).sum(1).to(x.dtype).view(1, 1, -1)


def _onednn(rows: Tensor, weight: Tensor) -> Tensor:
    """Multiply rows (n, i) with weights (u, i) by the kernel that torch's own compiler uses for a linear layer."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")  # noqa: SLF001  no public name
    return product


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]  # has no annotations
