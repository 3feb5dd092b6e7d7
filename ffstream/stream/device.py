"""Device and number of threads that a learner computes with."""

from __future__ import annotations

import torch

from ffstream.errors import ConfigError
from ffstream.stream.cores import available_cores


def device_of(name: str) -> torch.device:
    """Return the device that a configuration names; ``auto`` is a GPU if there is one.

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
    """Return the number of threads for a product; 0 means all usable cores but one, which is left to the sockets.

    A fraction of a core is left to the sockets as well: one thread too many uses up a quota and stalls everything.
    """
    return configured or max(1, int(available_cores()) - 1)
