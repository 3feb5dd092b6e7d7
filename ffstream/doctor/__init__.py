"""Checks of a machine and a configuration before a daemon starts there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ffstream.doctor import disk, machine
from ffstream.doctor.configuration import check_config
from ffstream.doctor.finding import Finding

__all__ = ["Finding", "examine"]


def examine(path: Path | None) -> Iterator[Finding]:
    """Run the checks one by one, quick ones first; torch is loaded only after those are reported.

    Parameters
    ----------
    path
        The TOML file; ``None`` checks the defaults. If it is not valid, the other checks use the defaults.
    """
    config, found = check_config(path)
    yield found
    yield machine.check_ports(config.server)
    yield disk.check_state(config.state)
    yield disk.check_speed(config.state.directory)
    yield machine.check_clock(config.phases)
    yield machine.check_files(config.server)
    from ffstream.doctor import computing, memory  # noqa: PLC0415  loads torch, which takes seconds

    yield computing.check_torch()
    yield computing.check_device(config)
    yield computing.check_precision(config)
    yield computing.check_threads(config.engine)
    yield disk.check_space(config.state, memory.checkpoint_bytes(config))
    yield memory.check_memory(config)
    yield computing.check_cache(config)
    yield computing.check_compiler(config)
