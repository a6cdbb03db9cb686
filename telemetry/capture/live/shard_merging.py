"""Has the shards of a running run merged by a child process, whenever eight flushes have come.

Lives on the writer thread of rank 0. The child takes a lock, so that there is one at a time; it may
be killed at any moment, for readers see either the old shards or the merged one.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from telemetry.capture.live.child import Child
from telemetry.capture.live.diagnosis import start_child

logger = logging.getLogger(__name__)

FLUSHES = 8  # fill a level: the child merges eight files of one level into one of the next
FAILURES_LIMIT = 3  # in a row: the disk is full, or the folder is gone


class ShardMerging:
    """At most one merging child at a time.

    Args:
        run: Folder of the run.
        start: Starts a child.
    """

    def __init__(self, run: Path, *, start: Callable[[Sequence[str]], Child] = start_child) -> None:
        self._command = [sys.executable, "-m", "telemetry.store.upkeep.compact", str(run)]
        self._start = start
        self._child: Child | None = None
        self._n_merged = 0  # flushes that were there when the last child began
        self._n_failures = 0

    def turn(self, n_flushes: int) -> bool:
        """Begin a child if a level is full; whether one has just ended.

        Args:
            n_flushes: How often shards were written so far.
        """
        has_ended = self._child is not None and self._ended(self._child)
        is_full = n_flushes - self._n_merged >= FLUSHES
        if is_full and self._child is None and self._n_failures < FAILURES_LIMIT:
            self._n_merged = n_flushes
            try:
                self._child = self._start(self._command)
            except OSError as error:
                logger.debug("shards are not merged: %s", error)
                self._n_failures += 1
        return has_ended

    def close(self) -> None:
        """End what is going on: the process that judges the run after its end merges everything."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _ended(self, child: Child) -> bool:
        ended = child.poll()
        if ended is None:
            return False
        self._child = None
        self._n_failures = self._n_failures + 1 if ended.code else 0
        return True


def can_merge() -> bool:
    """Whether a child can be started here that merges, and nobody has forbidden it."""
    return (
        os.environ.get("TELEMETRY_COMPACT") != "off"
        and bool(sys.executable)
        and hasattr(os, "posix_spawn")
        and importlib.util.find_spec("duckdb") is not None
    )
