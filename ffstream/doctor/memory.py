"""Estimate of the maximum memory of a configuration, compared with the memory available."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from ffstream.config import Config
from ffstream.daemon.sockets import INCOMING
from ffstream.doctor.computing import way
from ffstream.doctor.finding import Finding, size
from ffstream.errors import ConfigError
from ffstream.ff.building import weight_shapes

# For each weight: numbers kept by an optimizer rule (``ffstream.ff.optim``), bytes kept by a rounding mode
# (``ffstream.ff.rounding``), and float32 numbers kept for the other phase's mean move (``ffstream.ff.counter``).
OF_RULE = {"in_place": 0, "unit": 0, "factored": 0, "momentum": 1, "adam": 3}
OF_ROUNDING = {"nearest": 0, "stochastic": 8, "master": 4}
OF_COUNTER = 3
# Number of float32 arrays, each as wide as the widest layer, that a sweep holds at once.
ACTIVATIONS = 6
# Above this share of the available memory, too little is left for others.
MOST = 0.8


def check_memory(config: Config) -> Finding:
    """Estimate a daemon's memory with all buffers full, and compare it with the machine's."""
    try:
        on_gpu = way(config).device.type == "cuda"
    except ConfigError:
        on_gpu = False
    network, rest = _network(config), dict(_rest(config))
    if on_gpu:
        free, _ = torch.cuda.mem_get_info()
        if sum(network.values()) > free:
            found = f"the network needs about {size(sum(network.values()))}, but the device has {size(free)} free"
            return Finding("memory", "fail", found, "make network.hidden smaller")
    else:
        rest = {**network, **rest}
    total, there = sum(rest.values()), _limit()
    parts = ", ".join(f"{name} {size(count)}" for name, count in rest.items())
    found = f"about {size(total)} at most of {size(there)}: {parts}"
    if total > MOST * there:
        largest = max(rest, key=lambda name: rest[name])
        advice = f"the largest part is {largest}: {_ADVICE.get(largest, 'use a machine with more memory')}"
        return Finding("memory", "fail" if total > there else "warn", found, advice)
    return Finding("memory", "ok", found)


def checkpoint_bytes(config: Config) -> int:
    """Estimate the size of a checkpoint."""
    network = _network(config)
    return network["weights"] + network["rules"] + _remembered(config)


_ADVICE = {
    "weights": "lower network.hidden",
    "rules": "change optimizer.rule or optimizer.rounding",
    "sweeps": "lower engine.max_batch or engine.max_query_rows",
    "remembered samples": "lower engine.memory_samples",
    "copies for a checkpoint": "lower engine.memory_samples",
    "inboxes": "lower server.inbox_bytes",
    "messages": "lower server.message_samples",
}


def _network(config: Config) -> dict[str, int]:
    """Estimate the bytes on the device, by part."""
    try:
        precision = way(config).precision
    except ConfigError:
        precision = torch.float32
    shapes = weight_shapes(config.network)
    count = sum(units * inputs for units, inputs in shapes)
    rounding = OF_ROUNDING[config.optimizer.rounding] if precision == torch.bfloat16 else 0
    exact = 4 if config.optimizer.rounding == "master" else precision.itemsize
    kept = OF_RULE[config.optimizer.rule] * exact + rounding + 4 * OF_COUNTER * config.optimizer.counter
    rows = config.engine.max_batch + max(config.engine.max_query_rows, config.server.message_samples)
    paths = config.network.labels if config.network.coding == "overlay" else 1
    widest = max(config.network.width, *(units for units, _ in shapes))
    return {
        "weights": count * precision.itemsize,
        "rules": count * kept,
        "sweeps": ACTIVATIONS * 4 * rows * paths * widest,
    }


def _rest(config: Config) -> Iterator[tuple[str, int]]:
    """Estimate the bytes on the host besides the network, by part."""
    server, row = config.server, 4 * config.network.width
    yield "Python and torch", _resident()
    yield "remembered samples", _remembered(config)
    # The keeper holds a snapshot, and safetensors serializes it.
    yield "copies for a checkpoint", 2 * checkpoint_bytes(config)
    # Samples and queries, and the samples that the journal has not written yet.
    yield "inboxes", (3 if config.state.journal else 2) * server.inbox_bytes
    # One peer that sends faster than the daemon reads, on one socket.
    yield "messages", INCOMING * min(server.message_bytes, server.message_samples * row)


def _remembered(config: Config) -> int:
    return config.engine.memory_samples * (4 * config.network.width + 8)


def _resident() -> int:
    """Return the memory of this process, which has loaded the same libraries as a daemon."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _limit() -> int:
    """Return the memory limit of this process in bytes: the machine's memory, or a control group's lower limit."""
    return min([os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_of_groups()])


def _of_groups(root: Path = Path("/")) -> Iterator[int]:
    """Find the memory limits of this process's control groups and of their ancestors."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = root / "sys/fs/cgroup" / controllers
            group = top / path.lstrip("/")
            for folder in (group, *(above for above in group.parents if above.is_relative_to(top))):
                for file in ("memory.max", "memory.limit_in_bytes"):
                    if (folder / file).exists() and (text := (folder / file).read_text().strip()).isdecimal():
                        yield int(text)
