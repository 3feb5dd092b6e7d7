"""When a checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future

from ffstream.config import StateConfig
from ffstream.stream.journal import Journal
from ffstream.stream.keeper import Keeper
from ffstream.stream.progress import Progress, first_needed


class Saving:
    """Says when there is something to save, and when it has waited long enough.

    Whatever changes the learner is a record of the journal, so what the newest checkpoint lacks is what came after the
    record that it stands on.

    Parameters
    ----------
    config
        How often to save, and how large the journal may grow.
    progress
        How far learning has come.
    journal
        It reaches back to the oldest checkpoint kept, so it grows until the next one is saved.
    keeper
        It knows what the checkpoints hold.
    """

    def __init__(self, config: StateConfig, progress: Progress, journal: Journal, keeper: Keeper) -> None:
        self._config = config
        self._progress = progress
        self._journal = journal
        self._keeper = keeper
        # When nothing was new last, when saving was begun last, and whether that is done.
        self._whole_at = self._begun_at = time.monotonic()
        self._begun_written = journal.written
        self._done: Callable[[], bool] = lambda: True

    @property
    def has_news(self) -> bool:
        """Whether there is something that no checkpoint holds."""
        return self._progress.lsn != self._keeper.lsn

    def unsaved_s(self, now: float) -> float:
        """Return for how many seconds there has been something that no checkpoint holds; now is ``monotonic()``."""
        return now - max(self._whole_at, self._keeper.taken_at) if self.has_news else 0.0

    def begin(self, saved: Future[str]) -> None:
        """Note that a checkpoint is being saved."""
        self._begun_at, self._begun_written, self._done = time.monotonic(), self._journal.written, saved.done

    def is_due(self, now: float) -> bool:
        """Whether to save; to be asked at every turn."""
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
        # Over its quota the journal takes nothing in. A copy of the newest checkpoint takes the place of the oldest,
        # and then the journal can be pruned.
        return waited and journal.size > journal.quota and self._keeper.reaches < first_needed(self._progress.state())
