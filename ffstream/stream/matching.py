"""Checks that a snapshot is of the network that a configuration describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ffstream.config import Config, NetworkConfig
from ffstream.errors import CheckpointError
from ffstream.stream.phases import Scheduler
from ffstream.stream.prequential import Prequential
from ffstream.stream.snapshot import Snapshot

# Prefix of the names of dream tensors.
DREAMS = "dreams."


def check(snapshot: Snapshot, config: Config, network: Mapping[str, Tensor]) -> None:
    """Check that a snapshot is of a network.

    Parameters
    ----------
    config
        The whole configuration.
    network
        The tensors that a checkpoint of the network holds; only their shapes are read.

    Raises
    ------
    CheckpointError
        If it is of a different network or rule than the configuration describes, or lacks something.
    """
    try:
        manifest, saved = snapshot.manifest, snapshot.tensors["network"]
        # A setting that an older ffstream's checkpoint lacks had its default value.
        described = NetworkConfig.model_validate(manifest["network"])
        _check_same("network", described.model_dump(mode="json"), config.network.model_dump(mode="json"))
        _check_same("optimizer.rule", manifest["rule"], config.optimizer.rule)
        _check_same("optimizer.rounding", manifest["rounding"], config.optimizer.rounding)
        dreamed = any(name.startswith(DREAMS) for name in saved)
        for name, tensor in network.items():
            if name.startswith(DREAMS) and not dreamed:
                continue
            shape = [*saved[name].shape] if name in saved else "missing"
            _check_same(f"the shape of {name}", shape, [*tensor.shape])
        rows, labels = (snapshot.tensors["memory"][name] for name in ("rows", "labels"))
        _check_same("the width of its memory", [*rows.shape[1:]], [config.network.width])
        _check_same("the labels of its memory", [*labels.shape], [len(rows)])
        Scheduler(config.phases).restore(manifest["scheduler"])
        Prequential(config.engine.window).restore(manifest["prequential"])
        counts = [manifest["memory_seen"], manifest["samples_learned"], *manifest["phase_steps"].values()]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("a counter is not a count")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint lacks something that this ffstream needs: {error!r}") from error


def _check_same(key: str, saved: Any, configured: Any) -> None:
    if saved != configured:
        raise CheckpointError(
            f"the checkpoint was made with {key} = {saved}, but the configuration says {configured}; "
            "go back to that configuration, or set state.directory to an empty folder"
        )
