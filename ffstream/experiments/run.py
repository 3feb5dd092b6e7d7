"""One run of a row with one seed, pass by pass; an interrupted run resumes bit for bit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError
from ffstream.experiments import images
from ffstream.experiments.images import Labelled
from ffstream.experiments.kept import keep
from ffstream.experiments.methods import Forward, make
from ffstream.experiments.row import Row
from ffstream.measuring.environment import environment
from ffstream.stream.device import device_of, threads_of

TEST_ROWS = 500
# Images, counted over all passes, from which compiling the sweep, which takes seconds, pays off.
FUSED_IMAGES = 200_000
# Seconds of learning that a kill may lose, in addition to the pass that it interrupts.
SAVE_S = 30.0


class Watcher(Protocol):
    """Observer of the progress of runs."""

    def begins(self, row: Row, seed: int, batches: int, done: int) -> None:
        """Called when a run begins, with its number of batches, and of those learned before an interruption."""

    def learned(self) -> None:
        """Called after each learned batch."""

    def tested(self, error: float) -> None:
        """Called after each pass with the test error in percent."""


@dataclass
class Record:
    """Results of a run.

    Attributes
    ----------
    stamp
        Hash of the row, the seed and the labels.
    errors
        Test error in percent after each pass so far.
    seconds
        Seconds spent learning, without tests.
    parameters
        Number of learned parameters.
    samples
        Number of training images.
    device
        Device that it last learned on.
    predictions
        For each prediction rule that the network supports, at the end: test error in percent, and seconds to predict
        1,000 images.
    """

    stamp: str
    errors: list[float] = field(default_factory=list)
    seconds: float = 0.0
    parameters: int = 0
    samples: int = 0
    device: str = ""
    predictions: dict[str, dict[str, float]] = field(default_factory=dict)


class Run:
    """A method, its data and its progress.

    Parameters
    ----------
    row, seed
        Row to run, and seed of weights, order and every random draw.
    data
        Data of the shape and labels that the row's network declares.
    device
        Device that it learns on.

    Raises
    ------
    ConfigError
        If the data do not fit the network's shape and labels.
    """

    def __init__(self, row: Row, seed: int, data: Dataset, device: torch.device) -> None:
        if data.shape != row.network.shape or data.labels > row.network.labels:
            raise ConfigError(
                f"row {row.name}: network.shape = {list(row.network.shape)} and labels = {row.network.labels}, but "
                f"{row.dataset} has {list(data.shape)} and {data.labels}"
            )
        self.row, self.seed, self.device = row, seed, device
        self.train, self.test = Labelled.on(device, *data.train), Labelled.on(device, *data.test)
        self.method = make(row, seed, device)
        if isinstance(self.method, Forward) and len(self.train) * row.passes >= FUSED_IMAGES:
            self.method.network.fuse(row.batch, {self.method.phase})
        stamp = row.stamp(seed, (labels.tobytes() for _, labels in (data.train, data.test)))
        named = environment(device)["device"]
        self.record = Record(stamp, parameters=self.method.parameters, samples=len(self.train), device=named)
        self._generator = torch.Generator(device)

    @property
    def batches(self) -> int:
        """Number of batches per pass."""
        return -(-len(self.train) // self.row.batch)

    @property
    def finished(self) -> bool:
        """True if all passes are done."""
        return len(self.record.errors) >= self.row.passes

    def learn_pass(self, learned: Callable[[], object] = lambda: None) -> float:
        """Learn every training image once, then test; return the error in percent.

        Everything random in a pass is drawn from the seed and the number of the pass, so that only the state of the
        method and the record must be saved between passes.
        """
        number, n, row = len(self.record.errors), len(self.train), self.row
        draws = np.random.default_rng((self.seed, number))
        self._generator.manual_seed(int(draws.integers(2**63)))
        order = torch.from_numpy(draws.permutation(n)).to(self.device)
        started = time.perf_counter()
        for start in range(0, n, row.batch):
            self.method.anneal(rate_share((number + start / n) / row.passes, row.decay))
            chosen = order[start : start + row.batch]
            shown = self._vary(self.train.images[chosen])
            self.method.learn(images.rows(shown), self.train.labels[chosen], self._generator)
            learned()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.record.seconds += time.perf_counter() - started
        self.record.errors.append(self._error())
        return self.record.errors[-1]

    def compare_predictions(self) -> None:
        """Test and time every prediction rule that the network supports."""
        if not isinstance(self.method, Forward):
            return
        network = self.method.network
        declared = network.prediction
        for rule in self.method.rules:
            network.prediction = rule
            self._error()  # The first call may compile.
            started = time.perf_counter()
            error = self._error()
            seconds = 1_000 * (time.perf_counter() - started) / len(self.test)
            self.record.predictions[rule] = {"error": error, "seconds_per_1000": seconds}
        network.prediction = declared

    def _vary(self, shown: Tensor) -> Tensor:
        if self.row.jitter:
            shown = images.jittered(shown, self.row.jitter, self._generator)
        if self.row.flip:
            shown = images.flipped(shown, self._generator)
        return images.dropped(shown, self.row.dropout, self._generator) if self.row.dropout else shown

    def _error(self) -> float:
        parts = zip(*(torch.split(part, TEST_ROWS) for part in (self.test.images, self.test.labels)), strict=True)
        wrong = sum((self.method.predict(images.rows(shown)) != labels).sum() for shown, labels in parts)
        return 100 * float(wrong) / len(self.test)


class RunFile:
    """Files of a run: its state while it is in progress, its record once it is finished."""

    def __init__(self, folder: Path, name: str) -> None:
        self._finished = folder / f"{name}.json"
        self._under_way = folder / f"{name}.safetensors"

    def finished(self, stamp: str) -> Record | None:
        """Return the record of the finished run with a stamp, if there is one."""
        if not self._finished.exists():
            return None
        record = Record(**json.loads(self._finished.read_text()))
        return record if record.stamp == stamp else None

    def resume(self, run: Run) -> None:
        """Restore a run to its last save, if there is one with its stamp."""
        if not self._under_way.exists():
            return
        with safe_open(self._under_way, "pt") as saved:
            record = Record(**json.loads(saved.metadata()["record"]))
            if record.stamp != run.record.stamp:
                return
            run.method.restore({name: saved.get_tensor(name) for name in saved.keys()})  # noqa: SIM118  no mapping
        record.device = run.record.device
        run.record = record

    def save(self, run: Run) -> None:
        """Save a run between two passes."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in run.method.state().items()}
        keep(self._under_way, lambda file: save_file(tensors, file, {"record": json.dumps(asdict(run.record))}))

    def finish(self, run: Run) -> None:
        """Save the record of a finished run, and delete its saved state."""
        keep(self._finished, lambda file: file.write_text(json.dumps(asdict(run.record))))
        self._under_way.unlink(missing_ok=True)


def carry_out(row: Row, seed: int, data: Dataset, device: torch.device, folder: Path, watcher: Watcher) -> Record:
    """Carry out a run, or the rest of it; its files in ``folder`` let it resume after an interruption.

    A run whose row has changed in anything but its prose starts over.
    """
    file = RunFile(folder, f"{row.name}-seed{seed}")
    stamp = row.stamp(seed, (labels.tobytes() for _, labels in (data.train, data.test)))
    if record := file.finished(stamp):
        batches = -(-record.samples // row.batch) * row.passes
        watcher.begins(row, seed, batches, batches)
        watcher.tested(record.errors[-1])
        return record
    run = Run(row, seed, data, device)
    file.resume(run)
    watcher.begins(row, seed, run.batches * row.passes, run.batches * len(run.record.errors))
    saved = time.monotonic()
    while not run.finished:
        watcher.tested(run.learn_pass(watcher.learned))
        if time.monotonic() - saved >= SAVE_S and not run.finished:
            file.save(run)
            saved = time.monotonic()
    run.compare_predictions()
    file.finish(run)
    return run.record


def settle(device: str) -> torch.device:
    """Return the device of a name, and leave one CPU core to other work, as the daemon does.

    With as many threads as cores, the threads of a matrix product wait for each other whenever other work runs: on two
    busy cores, steps of 64 rows took forty times as long.
    """
    torch.set_num_threads(threads_of(0))
    return device_of(device)


def rate_share(done: float, decay: float) -> float:
    """Return the share of the step size after a share of all passes; it falls over the last ``decay`` of them.

    Examples
    --------
    >>> [rate_share(done, 0.5) for done in (0, 0.5, 0.75)]
    [1.0, 1.0, 0.5]
    """
    return min(1.0, (1 - done) / decay) if decay else 1.0
