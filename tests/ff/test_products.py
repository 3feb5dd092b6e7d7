"""Inputs and weights are multiplied alike in every way, and the way is measured, kept, or forced."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from ffstream.errors import ConfigError
from ffstream.ff import internals, measured
from ffstream.ff.measured import SMALL, VARIABLE, Products
from ffstream.ff.products import BY_INPUT, PLAIN, Plan, Way, multiply

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_forced(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def race_won_by(winner, monkeypatch, *, others=2.0):
    """Make one way take a second, and the others so many."""

    def race(contenders):
        ways = {name: name[-1] if isinstance(name, tuple) else name for name in contenders}
        return {name: 1.0 if way is winner else others for name, way in ways.items()}

    monkeypatch.setattr(measured, "_race", race)


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("paths", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 16, 40, 64, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_are_multiplied_alike_in_every_way(dtype, n, paths, way):
    generator = torch.Generator().manual_seed(n)
    x, weight = (torch.randn(*shape, generator=generator).to(dtype) for shape in ((n, paths, 30), (17, 30)))
    found, exact = multiply(x, way.arrange(weight), Plan(way, way, way)), x.double() @ weight.double().T
    assert found.dtype == dtype
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), exact, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 30), (4, 2, 30)])
def test_rows_may_have_paths_or_none(shape):
    x, weight = torch.ones(shape), torch.ones(17, 30)
    assert torch.equal(multiply(x, weight, PLAIN), torch.full((*shape[:-1], 17), 30.0))


@pytest.mark.parametrize("way", Way)
def test_a_torch_without_its_private_product_multiplies_by_its_own(monkeypatch, way):
    monkeypatch.setattr(internals, "_onednn", None)
    x, weight = torch.ones(3, 1, 5), torch.ones(2, 5)
    assert torch.equal(multiply(x, way.arrange(weight), Plan(way, way, way)), torch.full((3, 1, 2), 5.0))


def test_the_number_of_rows_decides_on_the_way():
    plan = Plan(Way.LINEAR, Way.ONEDNN_LEFT, Way.ONEDNN)
    assert [plan.of(rows) for rows in (1, 15, 16, 48, 49, 2000)] == [plan.few] * 2 + [plan.some] * 2 + [plan.many] * 2


def test_a_compiler_sees_a_product_that_one_plain_way_serves_for_all_rows():
    assert PLAIN.plain
    assert BY_INPUT.plain
    assert not Plan(Way.LINEAR, Way.LINEAR, Way.ONEDNN).plain


@pytest.mark.parametrize("way", Way)
def test_the_way_that_wins_the_race_is_taken(monkeypatch, way):
    race_won_by(way, monkeypatch)
    assert Products().plan(512, 512, torch.float32, CPU) == Plan(way, way, way)


@pytest.mark.parametrize("way", [way for way in Way if way is not Way.LINEAR])
def test_a_way_that_is_hardly_faster_than_the_plain_one_is_not_taken(monkeypatch, way):
    race_won_by(way, monkeypatch, others=1.05)
    assert Products().plan(512, 512, torch.float32, CPU) == PLAIN


def test_small_layers_and_other_devices_are_multiplied_plainly_and_not_measured():
    products = Products()
    assert products.plan(8, SMALL // 8 - 1, torch.float32, CPU) == PLAIN
    assert products.plan(512, 512, torch.float32, torch.device("cuda")) == PLAIN
    assert products.state() == {}


def test_what_was_measured_is_kept_and_given_back(monkeypatch):
    race_won_by(Way.ONEDNN, monkeypatch)
    products = Products()
    plan, dtype = products.plan(512, 512, torch.float32, CPU), products.dtype("auto", CPU)
    monkeypatch.setattr(measured, "_race", lambda _: pytest.fail("measured again"))
    again = Products(products.state())
    for kept in (products, again):
        assert kept.plan(512, 512, torch.float32, CPU) == plan
        assert kept.dtype("auto", CPU) is dtype


def test_another_number_of_threads_is_measured_anew(monkeypatch):
    race_won_by(Way.ONEDNN, monkeypatch)
    products, threads = Products(), torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            products.plan(512, 512, torch.float32, CPU)
    finally:
        torch.set_num_threads(threads)
    assert [key.partition(", ")[2] for key in products.state()] == ["1 threads", "2 threads"]


@pytest.mark.parametrize("value", ["onednn", ["onednn"], ["onednn", "linear", "magic"], ["float16"], [1, 2, 3], None])
def test_what_was_not_kept_by_this_ffstream_is_refused(value):
    with pytest.raises(ValueError, match="neither ways"):
        Products({"512x512 float32, 1 threads": value})


def test_a_real_race_is_won_by_one_of_the_ways():
    plan = Products().plan(300, 300, torch.float32, CPU)
    assert set(plan) <= {*Way}


@pytest.mark.parametrize("way", Way)
def test_the_environment_forces_a_way(monkeypatch, way):
    monkeypatch.setenv(VARIABLE, way.value)
    products = Products()
    assert products.plan(4, 4, torch.float32, CPU) == Plan(way, way, way)
    assert products.state() == {}


def test_a_way_that_there_is_not_is_named_with_those_that_there_are(monkeypatch):
    monkeypatch.setenv(VARIABLE, "magic")
    with pytest.raises(ConfigError, match="'magic' is not a way to multiply; use one of linear, "):
        Products().plan(4, 4, torch.float32, CPU)


@pytest.mark.parametrize(("times", "dtype"), [((1.0, 0.5), torch.bfloat16), ((1.0, 0.9), torch.float32)])
def test_auto_is_bfloat16_where_it_is_multiplied_clearly_faster(monkeypatch, times, dtype):
    taken = dict(zip(("float32", "bfloat16"), times, strict=True))
    monkeypatch.setattr(measured, "_race", lambda contenders: {name: taken[name[0]] for name in contenders})
    products = Products()
    assert products.dtype("auto", CPU) is dtype
    assert products.dtype("float32", CPU) is torch.float32
    assert products.dtype("bfloat16", CPU) is torch.bfloat16


@pytest.mark.parametrize("isa", ["avx2", "default"])
def test_a_processor_with_less_is_measured_as_well(isa):
    """A processor without bfloat16 makes oneDNN raise where it is asked for it."""
    code = (
        "import torch; from ffstream.ff.measured import Products; print(Products().dtype('auto', torch.device('cpu')))"
    )
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": isa, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() in ("torch.float32", "torch.bfloat16"), done.stderr
