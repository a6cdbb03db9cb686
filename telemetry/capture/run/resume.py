"""Which run a restarted training goes on with."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from telemetry import json_values
from telemetry.capture.writer.claims import is_free
from telemetry.capture.writer.run_folder import RunSettings, display_name
from telemetry.errors import RunNotFound, StoreUnreadable, UsageError
from telemetry.format.manifest import Manifest, Status, inferred_status, read_manifest
from telemetry.format.runs import MANIFEST_NAME, MIN_PREFIX, RunRef, begins_id, project_folder
from telemetry.json_values import Json

logger = logging.getLogger(__name__)

AUTO = "auto"
UNFINISHED = frozenset({Status.FAILED, Status.KILLED})
MAX_CANDIDATES = 8
MAX_CHANGES = 5  # of a message; the event has all


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """One hyperparameter that a resumed run has otherwise than before; None where it has none."""

    key: str
    before: Json
    after: Json

    def __str__(self) -> str:
        return f"{self.key} {self.before} → {self.after}"


def run_to_resume(settings: RunSettings, text: str) -> str:
    """The id of the run that somebody names.

    Args:
        settings: Its store and project, and the rank that will write it.
        text: An id, or at least four characters from the beginning of an id or short id.

    Raises:
        RunNotFound: no run of the project fits, or several do.
        StoreUnreadable: its manifest cannot be read, or a newer version wrote it.
        UsageError: a living process writes it.
    """
    refs = list(_runs(settings.store, settings.project))
    found = [ref for ref in refs if ref.run == text] or [
        ref for ref in refs if begins_id(ref.run, text)
    ]
    if not found:
        raise _not_found(settings, text)
    if len(found) > 1:
        candidates = tuple(sorted(ref.run for ref in found))[:MAX_CANDIDATES]
        raise RunNotFound(
            f"resume={text!r} matches {len(found)} runs: {', '.join(candidates)}; pass the "
            "whole id.",
            candidates,
        )
    (ref,) = found
    manifest = read_manifest(ref.path)
    if not is_free(ref.path, settings.rank, manifest):
        writer = manifest.owner
        by = f"process {writer.pid} on {writer.host}" if writer else "another process"
        raise UsageError(
            f"run {ref.run} is being recorded by {by}; stop that process first, or start a new run."
        )
    return ref.run


def latest_unfinished(settings: RunSettings) -> str | None:
    """The newest run of the same project, name and config that has failed or was killed.

    With another config it may be another experiment of the same script: a notice says how to go
    on with it all the same.
    """
    config = json.loads(json_values.dumps(settings.config))
    unlike: tuple[str, list[ConfigChange]] | None = None
    for ref, manifest in _unfinished(settings):
        changes = config_changes(manifest.config, config)
        if not changes:
            return ref.run
        unlike = unlike or (ref.run, changes)
    if unlike is not None:
        run, changes = unlike
        logger.warning(
            "telemetry starts a new run because the unfinished run %s has another config (%s); "
            "to continue that run, pass resume=%r or load the state of its checkpoint",
            run,
            described(changes),
            run,
        )
    return None


def config_changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[ConfigChange]:
    """Hyperparameters that are not the same, by key."""
    return [
        ConfigChange(key=key, before=before.get(key), after=after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def described(changes: list[ConfigChange]) -> str:
    """The first changes in words."""
    shown = [str(change) for change in changes[:MAX_CHANGES]]
    more = len(changes) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])])


def _unfinished(settings: RunSettings) -> Iterator[tuple[RunRef, Manifest]]:
    """Runs that may be gone on with, newest first."""
    now = datetime.now(UTC)
    found: list[tuple[str, RunRef, Manifest]] = []
    for ref in _runs(settings.store, settings.project):
        try:
            manifest = read_manifest(ref.path)
            status = inferred_status(manifest, now=now, modified=_modified(ref.path))
            if (
                status in UNFINISHED
                and manifest.name == display_name(settings, ref)
                and is_free(ref.path, settings.rank, manifest)
            ):
                found.append((manifest.started, ref, manifest))
        except (OSError, StoreUnreadable):
            continue
    for _, ref, manifest in sorted(found, key=lambda one: (one[0], one[1].run), reverse=True):
        yield ref, manifest


def _runs(store: Path, project: str) -> Iterator[RunRef]:
    """Runs of a project, in no particular order; links are no runs."""
    for path in (store / f"project={project_folder(project)}").glob("run=*"):
        if (path / MANIFEST_NAME).exists() and not path.is_symlink():
            yield RunRef(project=project, run=path.name.removeprefix("run="), path=path)


def _not_found(settings: RunSettings, text: str) -> RunNotFound:
    where = f"project {settings.project!r} of {settings.store}"
    for path in sorted(settings.store.glob("project=*/run=*")):
        run = path.name.removeprefix("run=")
        if run == text or begins_id(run, text):
            other = path.parent.name.removeprefix("project=")
            return RunNotFound(
                f"resume={text!r}: no run of {where}; run {run} is in project {other!r}: pass "
                "project=... with that name.",
                (run,),
            )
    short = f" At least {MIN_PREFIX} characters are needed." if len(text) < MIN_PREFIX else ""
    return RunNotFound(
        f"resume={text!r} matches no run of {where}.{short} `telemetry runs` lists them; "
        "resume='auto' continues an unfinished run, if there is one."
    )


def _modified(run: Path) -> datetime:
    return datetime.fromtimestamp((run / MANIFEST_NAME).stat().st_mtime, UTC)
