"""Deleting runs: whole folders of this store, moved out of sight first, links never followed."""

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import Status, read_manifest
from telemetry.format.runs import ID_PATTERN
from telemetry.store.files.folders import SERVICE_FOLDER, is_real_folder
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

TRASH_FOLDER = "trash"


def delete_runs(store: Store, runs: Sequence[Run], *, force: bool = False) -> None:
    """Remove runs; every one is checked before the first is touched.

    Args:
        store: The store they must lie in.
        runs: What to remove.
        force: Also remove runs that are still running.

    Raises:
        UsageError: a run is running, or its folder is not a run of this store.
        StoreUnreadable: the disk refuses; what was moved to the trash is named.
    """
    for run in runs:
        _check(store, run, force=force)
    for run in runs:
        _remove(_to_trash(store, run), run)


def _check(store: Store, run: Run, *, force: bool) -> None:
    path = run.ref.path
    where = f"{run.run} is not deleted: {path}"
    if not is_real_folder(path) or not is_real_folder(path.parent):
        raise UsageError(f"{where} is not a folder, or is a link.")
    names = (path.parent.name.removeprefix("project="), path.name.removeprefix("run="))
    folders = (f"project={names[0]}", f"run={names[1]}")
    if folders != (path.parent.name, path.name) or not all(map(ID_PATTERN.fullmatch, names)):
        raise UsageError(f"{where} is not named like the folder of a run.")
    if os.path.realpath(path) != str(Path(os.path.realpath(store.path)).joinpath(*folders)):
        raise UsageError(f"{where} is not in the store {store.path}.")
    try:
        manifest = read_manifest(path)
    except StoreUnreadable as error:
        raise UsageError(
            f"{where} cannot be identified as a run ({error}); remove it by hand."
        ) from error
    if manifest.run != names[1]:
        raise UsageError(f"{where} contains the manifest of {manifest.run!r}; remove it by hand.")
    if run.status is Status.RUNNING and not force:
        raise UsageError(f"{run.run} is still running; stop it first, or use --force.")


def _to_trash(store: Store, run: Run) -> Path:
    """Rename, so that readers see the run whole or not at all."""
    trash = store.path / SERVICE_FOLDER / TRASH_FOLDER
    target = trash / f"{run.run}-{secrets.token_hex(6)}"
    try:
        for folder in (trash.parent, trash):
            folder.mkdir(exist_ok=True)
            if not is_real_folder(folder):
                raise UsageError(f"{folder} is a link, so nothing is moved there.")
        run.ref.path.rename(target)
    except OSError as error:
        raise StoreUnreadable(f"{run.ref.path} was not deleted: {error.strerror}.") from error
    return target


def _remove(target: Path, run: Run) -> None:
    try:
        shutil.rmtree(target)  # removes links, never what they point to
    except OSError as error:
        raise StoreUnreadable(
            f"{run.run} is deleted, but its files are still in {target} ({error.strerror})."
        ) from error
