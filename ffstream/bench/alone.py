"""The daemon's engine without its sockets: what a stream could reach at the most."""

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

# Batches that wait for the engine at the least.
WAITING = 2


class Alone:
    """An engine with its journal, fed in process; what it says is dropped.

    Parameters
    ----------
    config
        The whole configuration, of a state directory that is not there yet.
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
        """Feed it for some seconds, and return how many new samples it learned in one."""
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
        """Save, and end the threads of the disk."""
        self._engine.close()
