"""The line on stderr that ends a recording: which run it was, and what judges it."""

import logging
import os
import shlex
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.capture.isolation.contained import contained
from telemetry.configuration import store_folder
from telemetry.errors import UsageError
from telemetry.format.manifest import Status
from telemetry.requests.record import RecordRequest

if TYPE_CHECKING:
    from telemetry.capture.run.recording import Recording

logger = logging.getLogger(__name__)

QUIET_VARIABLE = "TELEMETRY_QUIET"
ARROW = "→"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a process has recorded of a run.

    Attributes:
        run: Its short id.
        first_step: Of this process; not 0 where it went on with a run.
        n_steps: How many it recorded.
        n_samples: How many of them were sampled.
        every: The cadence that was asked for; None: none was.
        has_failed: An exception ended it.
        problems: Causes that the last diagnosis of the running run has found, and how many steps
            it had seen; None where there was none, or nothing was found.
        store: Folder to be named in the command; None: a command finds it by itself.
    """

    run: str
    first_step: int
    n_steps: int
    n_samples: int
    every: int | None
    has_failed: bool
    problems: tuple[int, int] | None = None
    store: Path | None = None

    @property
    def text(self) -> str:
        """One line for whoever has started the training."""
        place = "" if self.store is None else f" --store {shlex.quote(str(self.store))}"
        parts = [self._steps, self._samples, *self._problems]
        told = f"run {self.run}, {', '.join(parts)}"
        return f"telemetry: {told} {ARROW} telemetry diagnose {self.run}{place}"

    @property
    def _steps(self) -> str:
        end = self.first_step + self.n_steps
        how = "failed after " if self.has_failed else ""
        if self.first_step:
            return f"{how}steps {self.first_step} to {end - 1}"
        return f"{how}{_counted(self.n_steps, 'step')}"

    @property
    def _samples(self) -> str:
        """How many; where the budget allowed fewer than were asked for, that too."""
        told = _counted(self.n_samples, "sample")
        if self.every is None:
            return told
        end = self.first_step + self.n_steps
        n_asked = -(-end // self.every) - -(-self.first_step // self.every)
        if self.n_samples >= n_asked:
            return told
        return f"{told} (every={self.every} asked for {n_asked}, the budget allows no more)"

    @property
    def _problems(self) -> list[str]:
        if self.problems is None:
            return []
        count, n_seen = self.problems
        so_far = "" if n_seen >= self.first_step + self.n_steps else f" by step {n_seen}"
        return [f"{_counted(count, 'problem')}{so_far}"]


class LastWords:
    """Says the line, once, where it is wanted.

    Args:
        quiet: Nobody wants it; `$TELEMETRY_QUIET` says the same.
        store: Folder that the script has named; None: as configured.
    """

    def __init__(self, *, quiet: bool, store: Path | None) -> None:
        self._is_wanted = not quiet and os.environ.get(QUIET_VARIABLE, "") in {"", "0"}
        self._store = _to_be_named(store) if self._is_wanted else None

    def say(self, recording: "Recording", status: Status) -> None:
        """Write the line; only the first rank does, of a run in which something was trained."""
        with contained(_not_said):
            self._say(recording, status)

    def _say(self, recording: "Recording", status: Status) -> None:
        writer, costs = recording.writer, recording.costs
        if not (self._is_wanted and writer.claim.rank == 0 and writer.is_owned and costs.n_steps):
            return
        ended = Ended(
            run=writer.ref.short,
            first_step=costs.first_step,
            n_steps=costs.n_steps,
            n_samples=costs.n_samples,
            every=costs.every,
            has_failed=status is Status.FAILED,
            problems=recording.news.problems,
            store=self._store,
        )
        _write(ended.text)


def _to_be_named(store: Path | None) -> Path | None:
    """The folder of the runs, where a command in the shell of the training would look elsewhere."""
    with suppress(UsageError, OSError):
        request = RecordRequest.of(os.environ)
        if store is None:
            return store_folder() if request is not None and request.names_store else None
        if store.absolute() == store_folder().absolute():
            return None
    return store


def _write(line: str) -> None:
    """To stderr, which some programs have closed, and some terminals read in ASCII alone."""
    stream = sys.stderr
    if stream is None or sys.is_finalizing():
        return
    with suppress(UnicodeEncodeError, LookupError):
        line.encode(getattr(stream, "encoding", None) or "ascii")
        stream.write(f"{line}\n")
        return
    stream.write(line.replace(ARROW, "->") + "\n")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _not_said(error: Exception) -> None:
    logger.warning("telemetry: the line at the end was not written: %s", error)
