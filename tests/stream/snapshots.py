"""Small snapshots for tests, and what of them lies in a directory."""

from __future__ import annotations

from pathlib import Path

import torch

from ffstream.stream.snapshot import Snapshot

FILES = ("manifest.json", "manifest.sha256", "network.safetensors", "memory.safetensors")


def make_snapshot(version: int = 1, value: float = 0.5) -> Snapshot:
    tensors = {
        "network": {"0.weight": torch.full((2, 3), value), "0.rule.steps.weight": torch.tensor(4.0)},
        "memory": {"rows": torch.zeros(0, 3), "labels": torch.tensor([], dtype=torch.int64)},
    }
    return Snapshot(version, {"samples_learned": 12, "scheduler": {"phase": "wake"}}, tensors)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())
