"""Where a learner computes, and with how many threads."""

from __future__ import annotations

import torch

from ffstream.errors import ConfigError
from ffstream.stream.cores import available_cores


def device_of(name: str) -> torch.device:
    """Return the device that a configuration names; ``auto`` is a GPU where there is one.

    Raises
    ------
    ConfigError
        If it cannot be used here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"engine.device: {name!r} cannot be used here: {str(error).splitlines()[0]}") from error


def threads_of(configured: int) -> int:
    """Return how many threads a product may take; 0 leaves one of the cores that the process may use to the sockets.

    Part of a core is left to them as well: a thread too many uses a quota up, and then everything stands still.
    """
    return configured or max(1, int(available_cores()) - 1)
