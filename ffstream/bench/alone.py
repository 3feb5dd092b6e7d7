"""The daemon's engine without its sockets: the upper bound of a stream's rate."""

from __future__ import annotations

import time

from ffstream.bench.load import samples
from ffstream.config import Config
from ffstream.daemon.spawn import keep_kernels
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.engine import Engine
from ffstream.stream.inbox import Inbox, SampleBatch
from ffstream.stream.journal import Journal
from ffstream.stream.outbox import Outbox
from ffstream.stream.records import Received

# Minimum number of batches waiting for the engine.
WAITING = 2


class Alone:
    """An engine with its journal, fed in process; its output is dropped.

    Parameters
    ----------
    config
        Full configuration, with a state directory that does not exist yet.
    """

    def __init__(self, config: Config) -> None:
        server, state = config.server, config.state
        state.directory.mkdir(parents=True)
        keep_kernels()
        self.config = config
        self._inbox, self._outbox = Inbox(server.inbox_query_rows, server.inbox_bytes), Outbox(lambda: None)
        self._journal = Journal(state.journal_file, state.journal_bytes)
        store = CheckpointStore(state.directory, state.keep)
        self._engine = Engine(config, store, self._journal, self._inbox, self._outbox)
        self._fed = 0
        while self._engine.recovery is not None or self._engine.compilation is not None:
            self._engine.turn()
            time.sleep(self._engine.wait_s)

    def rate(self, seconds: float) -> float:
        """Feed the engine for some seconds, and return the number of new samples it learned per second."""
        inputs, labels = samples(4_096, self.config.network.width, "uint8")
        batch, learner = self.config.engine.max_batch, self._engine.learner
        before, started = learner.samples_learned, time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            while self._inbox.samples < WAITING * batch:
                start = self._fed % len(labels)
                part = slice(start, start + batch)
                taken = SampleBatch(inputs[part], labels[part], "alone", epoch=1, first=self._fed)
                self._inbox.put_samples(taken.at(self._journal.append(Received(taken))))
                self._fed += len(taken.labels)
            self._engine.turn()
            self._outbox.drain()
        return (learner.samples_learned - before) / spent

    def close(self) -> None:
        """Save a checkpoint and end the disk threads."""
        self._engine.close()
