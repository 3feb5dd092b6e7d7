"""Decides when a checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

from ffstream.config import StateConfig
from ffstream.stream.journal import Journal
from ffstream.stream.keeper import Keeper
from ffstream.stream.progress import Progress, first_needed


class Saving:
    """Tells if there is something to save, and if it has waited long enough.

    Every change of the learner is a record of the journal, so the newest checkpoint lacks only what came after the
    last record that it covers.

    Parameters
    ----------
    config
        Checkpoint interval, and size limit of the journal.
    progress
        Current position in the journal.
    journal
        Reaches back to the oldest kept checkpoint, so it grows until the next one is saved.
    keeper
        Knows which records the checkpoints cover.
    """

    def __init__(self, config: StateConfig, progress: Progress, journal: Journal, keeper: Keeper) -> None:
        self._config = config
        self._progress = progress
        self._journal = journal
        self._keeper = keeper
        # Last time that nothing was new, last time that saving began, and a function that tells if it is done.
        self._whole_at = self._begun_at = time.monotonic()
        self._begun_written = journal.written
        self._done: Callable[[], bool] = lambda: True

    @property
    def has_news(self) -> bool:
        """True if there is something that no checkpoint holds."""
        return self._progress.lsn != self._keeper.lsn

    def unsaved_s(self, now: float) -> float:
        """Return for how many seconds something has been unsaved; ``now`` is ``time.monotonic()``."""
        return now - max(self._whole_at, self._keeper.taken_at) if self.has_news else 0.0

    def begin(self, saved: Future[str]) -> None:
        """Note that a checkpoint is being saved."""
        self._begun_at, self._begun_written, self._done = time.monotonic(), self._journal.written, saved.done

    def is_due(self, now: float) -> bool:
        """Return True if a checkpoint is due; must be called at every turn."""
        config, journal = self._config, self._journal
        news, waited = self.has_news, now - self._begun_at >= config.checkpoint_s
        if not news:
            self._whole_at = now
        if not self._done():
            return False
        if news:
            share = config.journal_bytes // (config.keep + 1)
            long = waited and self.unsaved_s(now) >= config.checkpoint_s
            return long or journal.written - self._begun_written > share
        # Over its quota the journal accepts nothing. Saving the same state again replaces the oldest checkpoint, and
        # then the journal can be pruned.
        return waited and journal.size > journal.quota and self._keeper.reaches < first_needed(self._progress.state())
