"""The machine: its card, versions and clocks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from importlib.metadata import PackageNotFoundError, version

import torch

from ffstream.ff.measured import dtype_of
from ffstream.measuring.environment import environment as versions
from ffstream.stream.device import threads_of
from gpu_checking.report import Row
from gpu_checking.site import Site

# Names of nvidia-smi queries, which only read values.
ASKED = (
    *("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "clocks.max.mem"),
    *("power.limit", "temperature.gpu", "mig.mode.current", "ecc.mode.current", "pcie.link.gen.current"),
)


def environment(site: Site) -> Generator[Row]:
    """Report the environment of all other measurements."""
    yield Row(
        "versions",
        {
            **versions(site.device),
            "cuda": torch.version.cuda,
            "triton": _version("triton"),
            "precision_auto": str(dtype_of("auto", site.device)).removeprefix("torch."),
            "float32_products": torch.get_float32_matmul_precision(),
            "daemon_threads": threads_of(0),
        },
    )
    if site.device.type != "cuda":
        return
    card = torch.cuda.get_device_properties(site.device)
    free, total = torch.cuda.mem_get_info(site.device)
    yield Row(
        "card",
        {
            "name": card.name,
            "capability": f"{card.major}.{card.minor}",
            "multiprocessors": card.multi_processor_count,
            "l2_mib": card.L2_cache_size / 2**20,
            "memory_gib": total / 2**30,
            "free_gib": free / 2**30,
        },
    )
    if shutil.which("nvidia-smi"):
        asking = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
        said = subprocess.run(asking, capture_output=True, text=True, check=True, timeout=20).stdout
        yield Row(
            "nvidia-smi", dict(zip(ASKED, (part.strip() for part in said.splitlines()[0].split(",")), strict=True))
        )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
