"""Runs of a store, from their folders and manifests."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from telemetry.errors import StoreUnreadable
from telemetry.format.manifest import Manifest, Status, inferred_status, read_manifest
from telemetry.format.runs import ID_PATTERN, MANIFEST_NAME, RunRef
from telemetry.store.runs.kept_manifests import KeptManifests
from telemetry.store.runs.run import Run


def load_run(path: Path, *, now: datetime | None = None) -> Run:
    """The run of one folder `project=<p>/run=<id>`; unreadable manifests become a status."""
    return _loaded(path, read_manifest, now or datetime.now(UTC))


def _loaded(path: Path, read: Callable[[Path], Manifest], now: datetime) -> Run:
    ref = RunRef(
        project=path.parent.name.removeprefix("project="),
        run=path.name.removeprefix("run="),
        path=path,
    )
    try:
        manifest = read(path)
    except StoreUnreadable as error:
        return Run(ref=ref, manifest=None, status=Status.UNREADABLE, reason=str(error))
    run = Run(ref=ref, manifest=manifest, status=_status(path, manifest, now))
    return run if manifest.closed else replace(run, steps_on_disk=_steps_on_disk(run))


def run_status(path: Path, *, now: datetime | None = None) -> Status:
    """The status of one run: reads its manifest alone, however long the run is."""
    try:
        manifest = read_manifest(path)
    except StoreUnreadable:
        return Status.UNREADABLE
    return _status(path, manifest, now or datetime.now(UTC))


def list_runs(store: Path, *, now: datetime | None = None) -> list[Run]:
    """Every run of a store, newest first; links and folders without a manifest are not runs."""
    now = now or datetime.now(UTC)
    kept = KeptManifests(store, now_s=now.timestamp())
    found = [_loaded(path, kept.read, now) for path in run_folders(store)]
    kept.save()
    return sorted(found, key=lambda run: (run.started, run.run), reverse=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestRuns:
    """The first runs of a list.

    Attributes:
        runs: So many as were asked for, in order.
        total: How many the whole list has.
        projects: Of the whole list, as their folders are called.
    """

    runs: Sequence[Run]
    total: int
    projects: frozenset[str]


def newest_runs(store: Path, limit: int, *, now: datetime | None = None) -> NewestRuns:
    """The first runs of `list_runs`: manifests of other runs are not parsed where they are kept."""
    now = now or datetime.now(UTC)
    kept = KeptManifests(store, now_s=now.timestamp())
    found: list[tuple[tuple[str, str], Path, Run | None]] = []
    for path in run_folders(store):
        started = kept.started(path)
        run = _loaded(path, kept.read, now) if started is None else None
        name = path.name.removeprefix("run=")
        found.append(((run.started if run else started or "", name), path, run))
    found.sort(key=itemgetter(0), reverse=True)
    runs = [run or _loaded(path, kept.read, now) for _, path, run in found[:limit]]
    kept.save()
    projects = frozenset(path.parent.name for _, path, _ in found)
    return NewestRuns(runs=runs, total=len(found), projects=projects)


def run_folders(store: Path) -> Iterator[Path]:
    """Folders of the runs of a store, in no particular order."""
    for project in folders_named(store, "project="):
        for run in folders_named(Path(project.path), "run="):
            if _has_manifest(run.path):
                yield Path(run.path)


def _has_manifest(folder: str) -> bool:
    """Whether a folder is one of a run; one that may not be looked into is, and is unreadable."""
    try:
        os.stat(f"{folder}/{MANIFEST_NAME}")  # noqa: PTH116 - thousands of them
    except OSError as error:
        return error.errno == errno.EACCES
    return True


def _steps_on_disk(run: Run) -> int:
    """Steps up to the newest on the disk: a manifest that nobody closed lags a heartbeat."""
    # Loads pyarrow: 0.2 s that lists of closed runs need not pay.
    from telemetry.store.runs.flight_rows import steps_recorded  # noqa: PLC0415

    return steps_recorded(run)


def _status(path: Path, manifest: Manifest, now: datetime) -> Status:
    if manifest.status is not Status.RUNNING:
        return manifest.status
    return inferred_status(manifest, now=now, modified=_modified(path))


def _modified(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp((path / MANIFEST_NAME).stat().st_mtime, UTC)
    except OSError:
        return None


def folders_named(parent: Path, prefix: str) -> list[os.DirEntry[str]]:
    """Folders `<prefix><id>` of a folder; links are none, and what cannot be listed has none."""
    try:
        entries = list(os.scandir(parent))
    except OSError:
        return []
    return [
        entry
        for entry in entries
        if entry.name.startswith(prefix)
        and ID_PATTERN.fullmatch(entry.name.removeprefix(prefix))
        and entry.is_dir(follow_symlinks=False)
    ]
