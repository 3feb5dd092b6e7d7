"""Environment of a measurement: device, threads and versions."""

from __future__ import annotations

import platform
from typing import Any

import torch

from ffstream import __version__


def environment(device: torch.device) -> dict[str, Any]:
    """Return the environment that a figure depends on besides the code: device, threads, versions."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    processor = capabilities.get("cpu_name") or platform.processor() or platform.machine()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor,
        "cores": capabilities.get("num_logical_cores"),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ffstream": __version__,
    }
