"""Other implementations of Forward-Forward, run through their own code if they can be imported.

None of their code is included: each is a package that the user installs, or a checkout that the user names.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ffstream.errors import SourceError

Step = Callable[[], object]


@dataclass(frozen=True)
class Peer:
    """Another implementation; ``make(widths, rows, labels, device)`` returns a function that runs one step of it."""

    name: str
    make: Callable[[Sequence[int], Tensor, Tensor, torch.device], Step]


def fflib() -> Peer:
    """Return fflib (https://pypi.org/project/fflib).

    Raises
    ------
    SourceError
        If it is not installed.
    """
    linear, net_of = (_import(f"fflib.nn.{name}", "pip install --no-deps fflib") for name in ("ff_linear", "ff_net"))

    def make(widths: Sequence[int], rows: Tensor, labels: Tensor, device: torch.device) -> Step:
        layers = [
            linear.FFLinear(fan_in, units, loss_threshold=8.0, lr=1e-3, device=device)
            for fan_in, units in itertools.pairwise(widths)
        ]
        net = net_of.FFNet(layers, device)
        positive, negative = _written_over(rows, labels), _written_over(rows, (labels + 1) % 10)
        return lambda: net.run_train_combined(positive, negative)

    return Peer("fflib", make)


def lowe(checkout: Path) -> Peer:
    """Return loeweX/Forward-Forward (https://github.com/loeweX/Forward-Forward) from a checkout.

    Raises
    ------
    SourceError
        If the folder does not contain it, or if it cannot be imported from there.
    """
    if not (checkout / "src" / "ff_model.py").is_file():
        raise SourceError(
            f"--peer-path {checkout}: has no src/ff_model.py; give the folder of a checkout of loeweX/Forward-Forward"
        )
    sys.path.insert(0, str(checkout))
    try:
        utils: Any = _import("src.utils", "pip install hydra-core")
    finally:
        sys.path.remove(str(checkout))

    def make(widths: Sequence[int], rows: Tensor, labels: Tensor, device: torch.device) -> Step:
        model_options = SimpleNamespace(
            hidden_dim=widths[1], num_layers=len(widths) - 1, peer_normalization=0.03, momentum=0.9
        )
        training = SimpleNamespace(
            learning_rate=1e-3,
            weight_decay=3e-4,
            momentum=0.9,
            downstream_learning_rate=1e-2,
            downstream_weight_decay=3e-3,
        )
        options = SimpleNamespace(
            device=str(device), input=SimpleNamespace(batch_size=len(rows)), model=model_options, training=training
        )
        with contextlib.redirect_stdout(io.StringIO()):  # It prints the model.
            model, optimizer = utils.get_model_and_optimizer(options)
        inputs = {
            "pos_images": _written_over(rows, labels),
            "neg_images": _written_over(rows, (labels + 1) % 10),
            "neutral_sample": rows,
        }

        def step() -> None:
            optimizer.zero_grad()
            model(inputs, {"class_labels": labels})["Loss"].backward()
            optimizer.step()

        return step

    return Peer("loeweX", make)


def _import(name: str, advice: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SourceError(f"{name.partition('.')[0]} cannot be imported: {error}; {advice}") from error


def _written_over(rows: Tensor, labels: Tensor) -> Tensor:
    rows = rows.clone()
    rows[:, :10] = torch.eye(10, device=rows.device)[labels]
    return rows
