"""The learner: everything that changes while it learns, and one step of it.

No thread, no clock, no queue: the engine drives it in the daemon, and an experiment can drive it in process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.linalg import vector_norm

from ffstream.config import Config, NetworkConfig
from ffstream.errors import CheckpointError, ConfigError
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network
from ffstream.ff.scores import Scores
from ffstream.stream.inbox import SampleBatch
from ffstream.stream.memory import Memory
from ffstream.stream.phases import Felt, PhaseChange, Scheduler
from ffstream.stream.prequential import Prequential
from ffstream.stream.sleeping import Sleep
from ffstream.stream.snapshot import Snapshot
from ffstream.wire import UNLABELLED

PROBE_ROWS = 128
NO_LABELS = np.empty(0, np.int64)
# Before the names of the tensors of dreams.
DREAMS = "dreams."


@dataclass(frozen=True)
class SignScores:
    """How the layers found the rows of one sign in the last step that had any; a value a layer."""

    goodness: list[float]
    probability_of_real: list[float]


@dataclass(frozen=True)
class Step:
    """What one sweep did.

    Attributes
    ----------
    version
        Steps behind the weights with which the sweep began.
    phase
        The phase in which it ran.
    learned, replayed, dreamed
        New samples, remembered ones, and dreams that it learned from.
    scores
        What the network made of every row, learning rows first.
    labels, predicted
        (learned,) true labels of the new samples, -1 where there is none, and those predicted before learning them.
    sham
        Whether it changed nothing: sleep under the override ``sham``.
    """

    version: int
    phase: Phase
    learned: int
    replayed: int
    dreamed: int
    scores: Scores
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    sham: bool = False


class Learner:
    """A network, its schedule of wake and sleep, its memory, and its scores.

    Parameters
    ----------
    config
        The whole configuration.

    Attributes
    ----------
    version
        Steps behind the weights; a sham step adds none.
    phase_steps
        Steps of each phase, sham steps among those asleep.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.device = device_of(config.engine.device)
        torch.set_num_threads(threads_of(config.engine.threads))
        self.network = Network(config.network, config.optimizer, self.device, config.dreams)
        self.scheduler = Scheduler(config.phases)
        if config.engine.compile:
            # Queries alone are swept as if awake.
            self.network.fuse(config.engine.max_batch, {Phase.WAKE, self.scheduler.phase})
        self.memory = Memory(config.engine.memory_samples, config.network.width)
        self.sleep = Sleep(config, self.network, self.memory)
        self.prequential = Prequential(config.engine.window)
        self.version = 0
        self.samples_learned = 0
        self.phase_steps = dict.fromkeys(Phase, 0)
        # Goodness (m, layers) of the last rows that were raised ("real") and lowered ("negative"), and the probability
        # that they were called real.
        self._shown: dict[str, tuple[Tensor, Tensor]] = {}
        # What the last step found of its lesson, and what was felt of it when a schedule that does not feel was asked.
        self._found: tuple[Scores, Lesson] | None = None
        self._felt = Felt()
        self._draws = torch.Generator(self.device)
        # Room for the largest sweep: a full batch of samples beside the largest query.
        largest = config.engine.max_batch + max(config.engine.max_query_rows, config.server.message_samples)
        self._staging = np.zeros((largest, config.network.width), np.float32)

    @property
    def asleep(self) -> bool:
        """Whether the next learning step takes its rows from memory, or from dreams."""
        return self.scheduler.phase is Phase.SLEEP and not self.scheduler.holding

    def advance(self, *, quiet: bool, minute: int = 0) -> PhaseChange | None:
        """Move the schedule on, told whether the stream is silent, and the minute of the day (local time)."""
        return self.scheduler.advance(quiet=quiet, minute=minute, can_sleep=self.sleep.ready)

    def step(self, samples: Sequence[NDArray[Any]], labels: NDArray[np.int64], queries: Sequence[NDArray[Any]]) -> Step:
        """Sweep once over learning rows and query rows.

        Parameters
        ----------
        samples
            Arrays (k, *shape), uint8 or float, of new samples; none while asleep.
        labels
            Their labels, end to end; -1 where there is none.
        queries
            Arrays (k, *shape) that are scored only.
        """
        if not (self.asleep or len(labels)):
            return self.answer(queries)
        memory_draws = self._seed_draws()
        version, phase, sham = self.version, self.scheduler.phase, self.scheduler.shams
        if self.asleep:
            count = min(self.scheduler.sleep_rows, self.config.engine.max_batch)
            dreams, remembered, taught = self.sleep.rows(count, memory_draws, self._draws)
            dreamed = len(dreams)
            rows = self._stage([dreams, remembered, *queries])
        else:
            taught, dreamed = labels, 0
            rows = self._stage([*samples, *queries])
        m = len(taught)
        lesson = Lesson(torch.from_numpy(taught).to(self.device), phase, sham=sham, dreamed=dreamed)
        scores = self.network.sweep(torch.from_numpy(rows).to(self.device), lesson, self._draws)
        predicted: NDArray[np.int64] = scores.labels()[: len(labels)].cpu().numpy()
        self.scheduler.stepped(m)
        self._found = scores, lesson
        if self.scheduler.feels:
            self.scheduler.feel(*self._errors(), m)
        self.phase_steps[phase] += 1
        self.version += not sham
        if phase.raises:
            self._shown["real"] = scores.shown[:, :, 0], scores.real[:, :, 0]
        if phase.lowers:
            self._shown["negative"] = scores.shown[:, :, -1], scores.real[:, :, -1]
        if len(labels):
            self.samples_learned += len(labels)
            self.memory.add(rows[: len(labels)], labels, memory_draws)
            labelled = labels != UNLABELLED
            self.prequential.add(predicted[labelled] == labels[labelled])
        replayed = m - dreamed - len(labels)
        return Step(version, phase, len(labels), replayed, dreamed, scores, labels, predicted, sham)

    def learn(self, batches: Sequence[SampleBatch], queries: Sequence[NDArray[Any]]) -> Step:
        """Make a ``step`` on samples as they came."""
        labels = np.concatenate([NO_LABELS, *(batch.labels for batch in batches)]).astype(np.int64)
        return self.step([batch.inputs for batch in batches], labels, queries)

    def answer(self, queries: Sequence[NDArray[Any]]) -> Step:
        """Sweep once over query rows alone, whatever the phase; nothing is learned, nothing changes."""
        scores = self.network.sweep(torch.from_numpy(self._stage(queries)).to(self.device))
        return Step(self.version, self.scheduler.phase, 0, 0, 0, scores, NO_LABELS, NO_LABELS)

    def dream(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.float32], Scores]:
        """Dream an input for each label (n,), (n, width), and score it; the same between two steps, and no step's."""
        self._seed_draws()
        dreams = self.network.dream(torch.from_numpy(labels).to(self.device), self._draws)
        return dreams.cpu().numpy(), self.network.sweep(dreams)

    def sign_scores(self) -> dict[str, SignScores]:
        """Return how each layer found the last real and the last negative rows that it learned from."""
        return {
            sign: SignScores(goodness.mean(0).tolist(), real.mean(0).tolist())
            for sign, (goodness, real) in self._shown.items()
        }

    @property
    def pressure(self) -> float:
        """Sleep pressure, 0 … 1: as a schedule feels it at every step, or else as ``feel_pressure`` last found it."""
        return self.scheduler.pressure if self.scheduler.feels else self._felt.pressure

    def feel_pressure(self) -> None:
        """Look at the last step, where the schedule does not look at every one: that may mean to wait for a GPU."""
        if not self.scheduler.feels:
            self._felt.move(*self._errors(), share=1.0)

    def dead_units(self) -> list[int]:
        """Count, a layer, the units that none of some remembered rows wakes, or of some dreams where none is kept.

        Zeros as long as there are neither.
        """
        probe = self.sleep.probe(PROBE_ROWS, self._seed_draws(), self._draws)
        if probe is None:
            return [0] * len(self.network.layers)
        return self.network.dead_units(probe)

    def weight_norms(self) -> list[float]:
        """Return the Frobenius norm of the weights, a value a layer; as float32, where bfloat16 would round it."""
        return [float(vector_norm(layer.weight, dtype=torch.float32)) for layer in self.network.layers]

    def snapshot(self, beside: dict[str, Any] | None = None) -> Snapshot:
        """Copy everything that goes on after a restart; ``beside`` is added to the manifest."""
        manifest = {
            "network": self.config.network.model_dump(mode="json"),
            "dreams": self.config.dreams.model_dump(mode="json"),
            "optimizer": self.config.optimizer.model_dump(mode="json"),
            "rule": self.config.optimizer.rule,
            "rounding": self.config.optimizer.rounding,
            "scheduler": self.scheduler.state(),
            "prequential": self.prequential.state(),
            "phase_steps": {phase.value: steps for phase, steps in self.phase_steps.items()},
            "samples_learned": self.samples_learned,
            "memory_seen": self.memory.seen,
            **(beside or {}),
        }
        tensors = {"network": self.network.state(), "memory": self.memory.state()}
        copied = {
            file: {name: tensor.to("cpu", copy=True) for name, tensor in named.items()}
            for file, named in tensors.items()
        }
        return Snapshot(self.version, manifest, copied)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot; raises as ``check`` does, before anything is changed."""
        self.check(snapshot)
        manifest, saved = snapshot.manifest, snapshot.tensors["network"]
        for name, tensor in self.network.state().items():
            # Dreams that a checkpoint lacks have not begun.
            tensor.copy_(saved[name] if name in saved else torch.zeros_like(tensor))
        self.memory.restore(snapshot.tensors["memory"], manifest["memory_seen"])
        self.scheduler.restore(manifest["scheduler"])
        self.prequential.restore(manifest["prequential"])
        self.phase_steps = {phase: manifest["phase_steps"].get(phase.value, 0) for phase in Phase}
        self.samples_learned = manifest["samples_learned"]
        self.version = snapshot.version
        self._shown, self._found, self._felt = {}, None, Felt()

    def roll_back(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot as ``restore`` does, but leave override and hold as the operator has them now."""
        override, holding = self.scheduler.override, self.scheduler.holding
        self.restore(snapshot)
        self.scheduler.override, self.scheduler.holding = override, holding

    def check(self, snapshot: Snapshot) -> None:
        """See whether a snapshot is of this network; callable from any thread, since nothing that it reads changes.

        Raises
        ------
        CheckpointError
            If it is of another network, or of another rule, than the configuration describes, or lacks something.
        """
        try:
            manifest, saved = snapshot.manifest, snapshot.tensors["network"]
            # What a checkpoint of an older ffstream does not say is as it was: the default.
            network = NetworkConfig.model_validate(manifest["network"])
            _check_same("network", network.model_dump(mode="json"), self.config.network.model_dump(mode="json"))
            _check_same("optimizer.rule", manifest["rule"], self.config.optimizer.rule)
            _check_same("optimizer.rounding", manifest["rounding"], self.config.optimizer.rounding)
            dreamed = any(name.startswith(DREAMS) for name in saved)
            for name, tensor in self.network.state().items():
                if name.startswith(DREAMS) and not dreamed:
                    continue
                shape = [*saved[name].shape] if name in saved else "missing"
                _check_same(f"the shape of {name}", shape, [*tensor.shape])
            rows, labels = (snapshot.tensors["memory"][name] for name in ("rows", "labels"))
            _check_same("the width of its memory", [*rows.shape[1:]], [self.config.network.width])
            _check_same("the labels of its memory", [*labels.shape], [len(rows)])
            Scheduler(self.config.phases).restore(manifest["scheduler"])
            Prequential(self.config.engine.window).restore(manifest["prequential"])
            counts = [manifest["memory_seen"], manifest["samples_learned"], *manifest["phase_steps"].values()]
            if not all(type(count) is int and count >= 0 for count in counts):
                raise ValueError("a counter is no count")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint lacks what this ffstream needs: {error!r}") from error

    def _errors(self) -> tuple[float | None, float | None]:
        """Return what the last step showed of the errors that wake and sleep mend."""
        if self._found is None:
            return None, None
        wake_error, sleep_error = self.network.errors(*self._found)
        return (
            None if wake_error is None else float(wake_error),
            None if sleep_error is None else float(sleep_error),
        )

    def _stage(self, arrays: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Copy arrays end to end into the staging rows, as float32; bytes become 0 … 1."""
        end = 0
        for array in arrays:
            rows = self._staging[end : end + len(array)]
            if array.dtype == np.uint8:
                np.multiply(array.reshape(rows.shape), np.float32(1 / 255), out=rows)
            else:
                rows[...] = array.reshape(rows.shape)
            end += len(array)
        return self._staging[:end]

    def _seed_draws(self) -> np.random.Generator:
        """Derive this step's randomness from the seed and the step, so that a replay repeats it.

        A sham step leaves the version as it is, so shams are numbered, from 1, each to have draws of its own.

        Returns what the memory draws from; the network's generator is seeded from it.
        """
        sham = (self.scheduler.sham_steps + 1,) if self.scheduler.shams else ()
        draws = np.random.default_rng((self.config.network.seed, self.version, *sham))
        self._draws.manual_seed(int(draws.integers(2**63)))
        return draws


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
    """Return how many threads a product may take; 0 leaves one of the process's cores to the sockets."""
    return configured or max(1, len(os.sched_getaffinity(0)) - 1)


def _check_same(key: str, saved: Any, configured: Any) -> None:
    if saved != configured:
        raise CheckpointError(
            f"the checkpoint was made with {key} = {saved}, the configuration says {configured}; "
            "go back to that configuration, or name an empty state.directory"
        )
