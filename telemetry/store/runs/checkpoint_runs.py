"""Runs of bare checkpoints: weights of which no recorded run is named, and what is found out there.

Such a run has no steps. Its id follows from the content of the file, so that the same weights are
one run wherever they lie; what `run.json` says under `explain` builds their model again.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import Manifest, Status, utc_now, write_manifest
from telemetry.format.ownership import doubt, signed
from telemetry.format.runs import MANIFEST_NAME, RunRef, run_folder
from telemetry.json_values import Json
from telemetry.processes import this_process
from telemetry.requests.models import EXPLAIN_KEY, file_digest
from telemetry.store.files.locks import LOCK_NAME
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import OF_WEIGHTS, Run

TAG = OF_WEIGHTS
PROJECT = "checkpoints"


def checkpoint_run(store: Path, file: Path) -> Run:
    """The run of a checkpoint, as the store has it or as it would begin; writes nothing.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        digest = file_digest(file)
    except OSError as error:
        raise UsageError(f"{file}: the checkpoint cannot be read ({error.strerror}).") from error
    path = run_folder(store, PROJECT, f"{TAG}-{digest}")
    if (path / MANIFEST_NAME).exists():
        return load_run(path)
    moment = utc_now()
    manifest = Manifest(
        run=f"{TAG}-{digest}",
        project=PROJECT,
        name=file.name,
        started=moment,
        heartbeat=moment,
        ended=moment,
        status=Status.FINISHED,
        tags=(TAG,),
        closed=True,
        owner=this_process(),
    )
    ref = RunRef(project=PROJECT, run=manifest.run, path=path)
    return Run(ref=ref, manifest=manifest, status=Status.FINISHED)


@contextmanager
def kept_run(run: Run, spec: Mapping[str, Json]) -> Iterator[None]:
    """A block in which the run of a checkpoint has a folder; if it stays empty it is removed.

    Args:
        run: Of `checkpoint_run`.
        spec: How its model is built; replaces what this user said so far, key by key.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    path = run.ref.path
    is_new = not (path / MANIFEST_NAME).exists()
    manifest = run.manifest
    if manifest is None:
        raise StoreUnreadable(run.reason)
    stated = signed(manifest.run, manifest.project, {**_known(manifest), **spec})
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_manifest(path, replace(manifest, extra={**manifest.extra, **stated}))
    except OSError as error:
        raise StoreUnreadable(f"{path}: cannot be written ({error.strerror}).") from error
    try:
        yield
    finally:
        if is_new:
            _remove_empty(path)


def _known(manifest: Manifest) -> Mapping[str, Json]:
    """How the model of a run is built, as far as this user has said so."""
    known = manifest.extra.get(EXPLAIN_KEY)
    is_own = doubt(manifest.run, manifest.project, manifest.extra) is None
    return known if is_own and isinstance(known, Mapping) else {}


def _remove_empty(path: Path) -> None:
    """Remove a run folder into which nothing was written, and those above that are empty then."""
    own = (MANIFEST_NAME, LOCK_NAME)
    with suppress(OSError):
        if {entry.name for entry in path.iterdir()} <= set(own):
            for name in own:
                (path / name).unlink(missing_ok=True)
            for folder in (path, *list(path.parents)[:2]):
                folder.rmdir()
