"""Runs of a store, from their folders and manifests."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeGuard

from telemetry.errors import StoreUnreadable
from telemetry.format.manifest import Manifest, Status, inferred_status, read_manifest
from telemetry.format.runs import ID_PATTERN, MANIFEST_NAME, RunRef, start_in_id
from telemetry.json_values import NOT_FINITE, Json, json_integer, json_number
from telemetry.store.kept_manifests import KeptManifests


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run as the query half sees it; `manifest` is None when unreadable, `reason` says why.

    `measured` are metrics from the tables, where the manifest lacks them: see `knows_metrics`.
    """

    ref: RunRef
    manifest: Manifest | None
    status: Status
    reason: str = ""
    steps_on_disk: int = 0
    measured: Mapping[str, Json] | None = None

    @property
    def run(self) -> str:
        """The id."""
        return self.ref.run

    @property
    def key(self) -> tuple[str, str]:
        """Project and id, as its folders are called: what tells it from any other of a store."""
        return self.ref.project, self.ref.run

    @property
    def short(self) -> str:
        """The short id shown on screens."""
        return self.ref.short

    @property
    def project(self) -> str:
        """The project as the user wrote it."""
        return (self.manifest.project if self.manifest else "") or self.ref.project

    @property
    def name(self) -> str:
        """The display name."""
        return self.manifest.name if self.manifest else self.ref.run

    @property
    def started(self) -> str:
        """ISO-8601 start in UTC, '' when unknown; without a manifest it is that of the id."""
        return self.manifest.started if self.manifest else start_in_id(self.run)

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags."""
        return self.manifest.tags if self.manifest else ()

    @property
    def config(self) -> Mapping[str, Json]:
        """Flat configuration with dotted keys."""
        return self.manifest.config if self.manifest else {}

    @property
    def metrics(self) -> Mapping[str, Json]:
        """`{name: {last, best, best_step}}`; the loss as `format.run_loss` says, others raw."""
        found = self.manifest.summary.get("metrics") if self.manifest else None
        metrics = found if isinstance(found, Mapping) else {}
        return metrics if self.measured is None else {**metrics, **self.measured}

    @property
    def knows_metrics(self) -> bool:
        """Whether `metrics` are those of the run, as far as it was recorded.

        Else its tables have them: it was not closed, for it is alive or was killed, or it was
        written by an older version or by several processes, one after the other or together.
        """
        if self.manifest is None or self.measured is not None:
            return True
        return self.manifest.closed and isinstance(self.manifest.summary.get("loss_to"), int)

    @property
    def loss_trend(self) -> tuple[float, ...] | None:
        """The curve of the loss in a few points; None where its tables must be read for it."""
        found = self.manifest.summary.get("loss_trend") if self.manifest else None
        if (
            self.measured is not None
            or not self.knows_metrics
            or not isinstance(found, list | tuple)
        ):
            return None
        plain = (value for value in found if _is_plain(value))
        values = (float(one) if one in NOT_FINITE else json_number(one) for one in plain)
        return tuple(value for value in values if value is not None)

    @property
    def steps(self) -> int:
        """Optimizer steps recorded so far."""
        found = self.manifest.summary.get("steps") if self.manifest else None
        return max(json_integer(found, least=0) or 0, self.steps_on_disk)

    @property
    def dropped_rows(self) -> int:
        """Rows that were recorded and could not be written, as far as the manifest knows."""
        return self._count("dropped_rows")

    @property
    def refused_values(self) -> int:
        """Losses and metrics that were no numbers and were left out."""
        return self._count("refused_values")

    def _count(self, key: str) -> int:
        found = self.manifest.summary.get(key) if self.manifest else None
        return json_integer(found, least=0) or 0

    @property
    def finding_counts(self) -> Mapping[str, Json] | None:
        """`{error, warning, info}` of the last stored diagnosis, None when there was none."""
        found = self.manifest.summary.get("findings") if self.manifest else None
        return found if isinstance(found, Mapping) else None

    @property
    def findings_options(self) -> str | None:
        """Hash of the settings by which `finding_counts` were counted, None when unknown."""
        found = self.manifest.summary.get("findings_options") if self.manifest else None
        return found if isinstance(found, str) else None

    def to_json(self) -> dict[str, Json]:
        """The `run` object of every `--json` document."""
        return {
            "run": self.run,
            "project": self.project,
            "name": self.name,
            "status": self.status,
            "started": self.started,
            "steps": self.steps,
            "config": self.config,
            "tags": self.tags,
            "metrics": self.metrics,
        }


def _is_plain(value: Json) -> TypeGuard[str | int | float]:
    return isinstance(value, str | int | float)


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
    from telemetry.store.flight_rows import steps_recorded  # noqa: PLC0415

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
