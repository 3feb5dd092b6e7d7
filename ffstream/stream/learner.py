"""The learner: all state that changes with learning, and the learning step.

It has no threads, clock or queues: the engine drives it in the daemon, and an experiment can drive it in process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.linalg import vector_norm

from ffstream.config import Config
from ffstream.errors import NotCompiled
from ffstream.ff.captured import Captured
from ffstream.ff.fused import Compiled
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.measured import PRODUCTS, Products
from ffstream.ff.network import Network
from ffstream.ff.scores import Scores
from ffstream.stream.backend import Backend, Loop
from ffstream.stream.device import device_of, threads_of
from ffstream.stream.inbox import SampleBatch
from ffstream.stream.matching import check
from ffstream.stream.memory import Memory
from ffstream.stream.phases import Felt, PhaseChange, Scheduler
from ffstream.stream.prequential import Prequential
from ffstream.stream.sleeping import Sleep
from ffstream.stream.snapshot import Snapshot
from ffstream.stream.staging import Staging
from ffstream.stream.step import SignScores, Step

PROBE_ROWS = 128
# Number of batches whose predictions may stay unread on a GPU.
UNREAD = 64
NO_LABELS, NO_PREDICTIONS = np.empty(0, np.int64), torch.empty(0, dtype=torch.int64)


def make_network(config: Config, products: Products = PRODUCTS) -> Network:
    """Build the network that a configuration describes."""
    return Network(config.network, config.optimizer, device_of(config.engine.device), config.dreams, products)


def compiled_for(config: Config) -> tuple[int, set[Phase]]:
    """Return the approximate number of rows, and the phases, for which loops are compiled.

    An operator may command wake or sleep under any schedule; loops compiled for wake also serve sleep.
    """
    return config.engine.max_batch, {Scheduler(config.phases).phase, Phase.WAKE}


class Learner:
    """A network, its schedule of wake and sleep, its memory, and its scores.

    Parameters
    ----------
    config
        The whole configuration.
    products
        Ways to multiply the network's layers; by default, those that the whole process shares.

    Attributes
    ----------
    version
        Number of learning steps behind the weights; sham steps do not count.
    phase_steps
        Number of steps in each phase; sham steps count as sleep.
    """

    def __init__(self, config: Config, products: Products = PRODUCTS) -> None:
        self.config = config
        torch.set_num_threads(threads_of(config.engine.threads))
        self.network = make_network(config, products)
        self.device = self.network.device
        self.scheduler = Scheduler(config.phases)
        self._sweep = Captured(self.network).sweep if config.engine.cuda_graphs else self.network.sweep
        self._uncompiled = ""
        self.memory = Memory(config.engine.memory_samples, config.network.width)
        self.sleep = Sleep(config, self.network, self.memory)
        self.prequential = Prequential(config.engine.window, 1 if self.device.type == "cpu" else UNREAD)
        self.version = 0
        self.samples_learned = 0
        self.phase_steps = dict.fromkeys(Phase, 0)
        # Goodness (m, layers) of the last rows whose goodness was raised ("real") and lowered ("negative"), and the
        # probability that the layers call them real.
        self._shown: dict[str, tuple[Tensor, Tensor]] = {}
        # Scores and lesson of the last step, and the errors that ``feel_pressure`` last computed from them.
        self._found: tuple[Scores, Lesson] | None = None
        self._felt = Felt()
        self._dead: list[int] | None = None
        self._draws = torch.Generator(self.device)
        # Sized for the largest sweep: a full batch of samples plus the largest query.
        largest = config.engine.max_batch + max(config.engine.max_query_rows, config.server.message_samples)
        self._staging = Staging(largest, config.network.width, self.device)

    def compile(self) -> None:
        """Compile the loops through the layers if the configuration asks for it; takes seconds."""
        if self.config.engine.compile:
            self.network.fuse(*compiled_for(self.config))

    def take_up(self, outcome: Compiled | NotCompiled) -> None:
        """Switch to loops compiled for a network of the same configuration, or remember why there are none."""
        try:
            if isinstance(outcome, NotCompiled):
                raise outcome
            self.network.adopt(outcome, *compiled_for(self.config))
        except NotCompiled as error:
            self._uncompiled = str(error)

    @property
    def backend(self) -> Backend:
        """Device, precision, products and loop that sweeps run on."""
        network = self.network
        loop: Loop = "off"
        if self.config.engine.compile:
            loop = "compiled" if network.compiled else "failed" if self._uncompiled else "compiling"
        precision = str(network.dtype).removeprefix("torch.")
        return Backend(str(self.device), precision, torch.get_num_threads(), loop, self._uncompiled, network.products())

    @property
    def asleep(self) -> bool:
        """True if the next learning step takes its rows from memory or dreams."""
        return self.scheduler.phase is Phase.SLEEP and not self.scheduler.holding

    def advance(self, *, quiet: bool, minute: int = 0) -> PhaseChange | None:
        """Advance the schedule, given whether the stream is quiet, and the minute of the day (local time)."""
        return self.scheduler.advance(quiet=quiet, minute=minute, can_sleep=self.sleep.ready)

    def step(self, samples: Sequence[NDArray[Any]], labels: NDArray[np.int64], queries: Sequence[NDArray[Any]]) -> Step:
        """Sweep once over learning rows and query rows.

        Parameters
        ----------
        samples
            Arrays (k, *shape) of new samples, uint8 or float; none while asleep.
        labels
            Their labels in one array; -1 where there is none.
        queries
            Arrays (k, *shape) that are only scored.
        """
        if not (self.asleep or len(labels)):
            return self.answer(queries)
        memory_draws = self._seed_draws()
        version, phase, sham = self.version, self.scheduler.phase, self.scheduler.shams
        if self.asleep:
            count = min(self.scheduler.sleep_rows, self.config.engine.max_batch)
            dreams, remembered, taught = self.sleep.rows(count, memory_draws, self._draws)
            dreamed = len(dreams)
            rows, sent = self._staging.fill([dreams, remembered], queries)
        else:
            taught, dreamed = labels, 0
            rows, sent = self._staging.fill(samples, queries)
        m = len(taught)
        lesson = Lesson(torch.from_numpy(taught).to(self.device), phase, sham=sham, dreamed=dreamed)
        scores = self._sweep(sent, lesson, self._draws)
        scores = scores.of_first(m + sum(map(len, queries)))
        predicted = scores.labels()[: len(labels)]
        self.scheduler.stepped(m)
        self._found, self._dead = (scores, lesson), None
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
            self.prequential.add(predicted, labels)
        replayed = m - dreamed - len(labels)
        return Step(version, phase, len(labels), replayed, dreamed, scores, labels, predicted, sham)

    def learn(self, batches: Sequence[SampleBatch], queries: Sequence[NDArray[Any]]) -> Step:
        """Make a ``step`` on batches as the inbox holds them."""
        labels = np.concatenate([NO_LABELS, *(batch.labels for batch in batches)]).astype(np.int64)
        return self.step([batch.inputs for batch in batches], labels, queries)

    def answer(self, queries: Sequence[NDArray[Any]]) -> Step:
        """Sweep once over query rows only, in any phase; nothing is learned, nothing changes."""
        scores = self._sweep(self._staging.fill([], queries)[1])
        scores = scores.of_first(sum(map(len, queries)))
        return Step(self.version, self.scheduler.phase, 0, 0, 0, scores, NO_LABELS, NO_PREDICTIONS)

    def dream(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.float32], Scores]:
        """Dream an input for each label (n,), and return the inputs (n, width) and their scores.

        Calls between the same two steps return the same dreams, and leave the next step as it is.
        """
        self._seed_draws()
        dreams = self.network.dream(torch.from_numpy(labels).to(self.device), self._draws)
        return dreams.cpu().numpy(), self.network.sweep(dreams)

    def sign_scores(self) -> dict[str, SignScores]:
        """Return each layer's mean scores of the last real and the last negative rows that it learned from."""
        return {
            sign: SignScores(goodness.mean(0).tolist(), real.mean(0).tolist())
            for sign, (goodness, real) in self._shown.items()
        }

    @property
    def pressure(self) -> float:
        """Sleep pressure, 0 … 1: from the schedule if it tracks pressure, else as of the last ``feel_pressure``."""
        return self.scheduler.pressure if self.scheduler.feels else self._felt.pressure

    def feel_pressure(self) -> None:
        """Compute sleep pressure from the last step if the schedule does not track it; this may wait for a GPU."""
        if not self.scheduler.feels:
            self._felt.move(*self._errors(), share=1.0)

    def dead_units(self) -> list[int]:
        """Count the units per layer that no row of a probe activates: remembered rows, or dreams if none are kept.

        All zeros while there are neither. The count is kept until the next step: otherwise a daemon that is queried
        but learns nothing would make its queries wait for it.
        """
        if self._dead is None:
            probe = self.sleep.probe(PROBE_ROWS, self._seed_draws(), self._draws)
            self._dead = [0] * len(self.network.layers) if probe is None else self.network.dead_units(probe)
        return self._dead

    def weight_norms(self) -> list[float]:
        """Return the Frobenius norm of each layer's weights; in float32, because bfloat16 would round it."""
        return [float(vector_norm(layer.weight, dtype=torch.float32)) for layer in self.network.layers]

    def snapshot(self, beside: dict[str, Any] | None = None) -> Snapshot:
        """Copy all state that survives a restart; ``beside`` is added to the manifest."""
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
        # Files store weights unit by unit, whatever their layout in memory.
        lie = torch.contiguous_format
        copied = {
            file: {name: tensor.to("cpu", copy=True, memory_format=lie) for name, tensor in named.items()}
            for file, named in tensors.items()
        }
        return Snapshot(self.version, manifest, copied)

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot; raises as ``check`` does, before anything is changed."""
        self.check(snapshot)
        manifest, saved = snapshot.manifest, snapshot.tensors["network"]
        for name, tensor in self.network.state().items():
            # If a checkpoint has no dreams, they start from zero.
            tensor.copy_(saved[name] if name in saved else torch.zeros_like(tensor))
        self.memory.restore(snapshot.tensors["memory"], manifest["memory_seen"])
        self.scheduler.restore(manifest["scheduler"])
        self.prequential.restore(manifest["prequential"])
        self.phase_steps = {phase: manifest["phase_steps"].get(phase.value, 0) for phase in Phase}
        self.samples_learned = manifest["samples_learned"]
        self.version = snapshot.version
        self._shown, self._found, self._felt, self._dead = {}, None, Felt(), None

    def roll_back(self, snapshot: Snapshot) -> None:
        """Restore a snapshot, but keep the operator's current override and hold."""
        override, holding = self.scheduler.override, self.scheduler.holding
        self.restore(snapshot)
        self.scheduler.override, self.scheduler.holding = override, holding

    def check(self, snapshot: Snapshot) -> None:
        """Check that a snapshot is of this network; callable from any thread, since nothing that it reads changes.

        Raises
        ------
        CheckpointError
            If it is of a different network or rule than the configuration describes, or lacks something.
        """
        check(snapshot, self.config, self.network.state())

    def _errors(self) -> tuple[float | None, float | None]:
        """Return the wake error and the sleep error of the last step; ``None`` where it did not show one."""
        if self._found is None:
            return None, None
        wake_error, sleep_error = self.network.errors(*self._found)
        return (
            None if wake_error is None else float(wake_error),
            None if sleep_error is None else float(sleep_error),
        )

    def _seed_draws(self) -> np.random.Generator:
        """Derive this step's randomness from the seed and the step, so that a replay repeats it.

        Sham steps do not change the version, so they are numbered from 1, to give each its own draws.

        Returns the memory's generator; the network's generator is seeded from it.
        """
        sham = (self.scheduler.sham_steps + 1,) if self.scheduler.shams else ()
        draws = np.random.default_rng((self.config.network.seed, self.version, *sham))
        self._draws.manual_seed(int(draws.integers(2**63)))
        return draws
