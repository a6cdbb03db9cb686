"""A store: a folder of runs, opened for reading."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.configuration import store_folder
from telemetry.errors import StoreUnreadable
from telemetry.format.runs import local_folder
from telemetry.store.runs.catalog import NewestRuns, list_runs, newest_runs, run_folders
from telemetry.store.runs.run import Run
from telemetry.store.runs.runs import Runs
from telemetry.store.runs.select import select_run

if TYPE_CHECKING:
    from telemetry.store.sessions.session import Session

HINT = (
    "Record a first run with `telemetry record train.py` or `TelemetryCallback(model, "
    "optimizer)`, try `telemetry demo`, or name another store with --store or TELEMETRY_STORE."
)


class Store:
    """Runs below one folder; nothing is read before it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> "Store":
        """The store of a folder.

        Args:
            path: The folder; None: where the callback records and the terminal looks, which is
                `$TELEMETRY_STORE`, `store` of the settings file, or `./telemetry-runs`.

        Raises:
            StoreUnreadable: missing, not a folder, unreadable, or without a single run.
            UsageError: an address on a network.
        """
        store = cls.expected(path)
        if not store.path.exists():
            raise StoreUnreadable(f"{store.path}: the store does not exist. {HINT}")
        if next(run_folders(store.path), None) is None:
            raise StoreUnreadable(f"{store.path}: the store contains no runs. {HINT}")
        return store

    @classmethod
    def expected(cls, path: str | os.PathLike[str] | None = None) -> "Store":
        """The store of a folder that the first training may still have to make; see `open`.

        Raises:
            StoreUnreadable: not a folder, or unreadable.
            UsageError: an address on a network.
        """
        folder = (store_folder() if path is None else local_folder(path)).absolute()
        try:
            with os.scandir(folder):
                pass
        except FileNotFoundError:
            pass
        except NotADirectoryError as error:
            raise StoreUnreadable(
                f"{folder}: a store must be a folder, but this is a file. {HINT}"
            ) from error
        except OSError as error:
            raise StoreUnreadable(f"{folder}: {error.strerror}; check its permissions.") from error
        return cls(folder)

    @classmethod
    def of(cls, run: Run) -> "Store":
        """The store that a run lies in."""
        return cls(run.ref.path.parent.parent)

    def runs(self) -> Runs:
        """Every run, newest first; unreadable ones are listed with the reason."""
        return Runs(list_runs(self.path))

    def newest_runs(self, limit: int) -> NewestRuns:
        """The newest runs, and how many there are: quicker than `runs` in a store of thousands."""
        return newest_runs(self.path, limit)

    def select(self, selector: str) -> Run:
        """The one run that a selector means, with its metrics.

        Raises:
            RunNotFound: none or several; the error carries candidates.
        """
        return self.with_metrics([select_run(self.runs(), selector)])[0]

    def with_metrics(self, runs: Sequence[Run]) -> list[Run]:
        """The runs, in their order; reads the tables of those whose manifest lacks metrics."""
        if all(run.knows_metrics for run in runs):
            return list(runs)
        from telemetry.store.sessions.run_metrics import with_metrics  # noqa: PLC0415 - as below
        from telemetry.store.sessions.session import Session  # noqa: PLC0415

        return with_metrics(runs, Session)

    def session(
        self, runs: Sequence[Run], *, all_attempts: bool = False, many_statements: bool = False
    ) -> "Session":
        """Views over the shards of runs.

        Args:
            runs: The runs to show; their order is that of the raw rows.
            all_attempts: Also show rows that a later attempt repeated.
            many_statements: Read the rows that many rules ask for once, unless they are too many.
        """
        from telemetry.store.sessions.session import Session  # noqa: PLC0415 - listing runs needs no DuckDB

        return Session(runs, all_attempts=all_attempts, many_statements=many_statements)
