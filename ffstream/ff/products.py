"""The product of inputs and weights, in the precision and in the way that are fastest on the device at hand.

Which way that is depends on the number of rows and on who made the processor; ``docs/speed.md`` has the measurements.
A processor always takes the same way, so that a replay repeats what it replays to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config.network import Precision

# Looked up once: a compiler would stop at the question.
BY_INTEL = "Intel" in str(torch.cpu.get_capabilities().get("cpu_name", ""))
ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]  # has no annotations
# Values of a weight matrix from which on some numbers of rows are multiplied from the other side, and these numbers.
WIDE, FROM_LEFT = (2**19, range(16, 49)) if BY_INTEL else (2**21, range(16, 65))
# Values below which float32 weights lie input by input: an Intel processor multiplies them faster.
BY_INPUT = 700_000 if BY_INTEL else 0


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
        faster = able.get("amx_bf16", False) or (able.get("avx512_bf16", False) and not BY_INTEL)
    return torch.bfloat16 if faster else torch.float32


def arrange(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Lay weights (u, i), to be held in a precision, out in memory as they are multiplied fastest; else the same."""
    # MKL multiplies 16 rows with them in 1/3 to 2/3 of the time. Adding to them takes as long.
    by_input = dtype == torch.float32 and not weight.is_cuda and weight.numel() < BY_INPUT
    return weight.T.contiguous().T if by_input else weight


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply inputs (n, p, i) with weights (u, i), in the way that is fastest for so many rows; (n, p, u)."""
    if x.is_cuda:
        return x @ weight.T
    rows = x.flatten(0, 1)
    # The weights from the left take half to 9/10 of the time, and what comes out must be turned.
    from_left = is_wide(weight) and len(rows) in FROM_LEFT
    product = _dot(weight, rows).T.contiguous() if from_left else _dot(rows, weight)
    return product.view(*x.shape[:2], len(weight))


def is_wide(weight: Tensor) -> bool:
    """Whether the number of rows decides how weights (u, i) are multiplied."""
    return not weight.is_cuda and weight.numel() >= WIDE and weight.is_contiguous()


def multiply_one(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply one row (1, 1, i): compiled, as fast as the weights can be read; a BLAS takes up to 3 times as long."""
    return (weight.float() * x.float()[0]).sum(1).to(x.dtype).view(1, 1, -1)


def _dot(rows: Tensor, weight: Tensor) -> Tensor:
    """Multiply rows (n, i) with weights (u, i) by the library that is fastest here; (n, u)."""
    # torch gives float32 to MKL, which uses half of the vector width of an AMD processor; oneDNN uses all of it.
    if weight.dtype != torch.float32 or BY_INTEL or not ONEDNN:
        return functional.linear(rows, weight)
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")  # noqa: SLF001  no public name
    return product
