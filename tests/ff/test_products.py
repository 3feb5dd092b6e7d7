"""Inputs and weights are multiplied alike, whichever way and precision is fastest here."""

from __future__ import annotations

import pytest
import torch

from ffstream.ff import products
from ffstream.ff.products import dtype_of, multiply

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Makes the processor one of this name, which can do what is named."""

    def be(name: str, *able: str) -> None:
        monkeypatch.setattr(products, "BY_INTEL", "Intel" in name)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(able, True))

    return be


@pytest.mark.parametrize("wide", [1, 10**9], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", ["Intel Xeon", "AMD EPYC"])
@pytest.mark.parametrize("paths", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 16, 40, 64, 65, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_multiplied_alike_whichever_way_is_fastest(monkeypatch, processor, dtype, n, paths, name, wide):
    processor(name)
    monkeypatch.setattr(products, "WIDE", wide)
    generator = torch.Generator().manual_seed(n)
    x, weight = (torch.randn(*shape, generator=generator).to(dtype) for shape in ((n, paths, 30), (17, 30)))
    found, exact = multiply(x, weight), x.double() @ weight.double().T
    assert found.dtype == dtype
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "able", "dtype"),
    [
        ("AMD EPYC", ["avx512_bf16"], torch.bfloat16),
        ("AMD EPYC", [], torch.float32),
        ("Intel Xeon", ["avx512_bf16", "amx_bf16"], torch.bfloat16),
        ("Intel Xeon", ["avx512_bf16"], torch.float32),
    ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it_faster(processor, name, able, dtype):
    processor(name, *able)
    assert dtype_of("auto", CPU) is dtype
    assert dtype_of("float32", CPU) is torch.float32
    assert dtype_of("bfloat16", CPU) is torch.bfloat16
