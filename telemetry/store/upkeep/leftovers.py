"""What killed processes have left in a store: folders that never became a run, and old trash."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from telemetry.format.runs import MANIFEST_NAME
from telemetry.format.shards import sweep_parts
from telemetry.store.files.folders import SERVICE_FOLDER, is_real_folder
from telemetry.store.runs.catalog import folders_named
from telemetry.store.upkeep.archive import TRASH_FOLDER

AGE_S = 3600.0  # a younger folder may be a run that is just beginning


def remove_leftovers(store: Path, *, now_s: float) -> int:
    """Remove folders without a manifest that hold no rows, and what deleting has left in the trash.

    Args:
        store: Folder of the store.
        now_s: Seconds since the epoch.

    Returns:
        How many folders were removed.
    """
    service = store / SERVICE_FOLDER
    if is_real_folder(service):  # catalogues that were being written
        sweep_parts(service, older_than_s=AGE_S, now_s=now_s)
    n_removed = 0
    for folder in leftover_folders(store, now_s=now_s):
        with suppress(OSError):
            shutil.rmtree(folder)  # removes links, never what they point to
            n_removed += 1
    return n_removed


def leftover_folders(store: Path, *, now_s: float) -> list[Path]:
    """Folders that hold no run and are older than an hour.

    Args:
        store: Folder of the store.
        now_s: Seconds since the epoch.
    """
    never_runs = [
        Path(run.path)
        for project in folders_named(store, "project=")
        for run in folders_named(Path(project.path), "run=")
        if _holds_nothing(Path(run.path))
    ]
    return [
        folder for folder in (*never_runs, *_trash(store)) if now_s - _changed_s(folder) > AGE_S
    ]


def _changed_s(folder: Path) -> float:
    try:
        return folder.lstat().st_mtime
    except OSError:
        return float("inf")


def _holds_nothing(folder: Path) -> bool:
    """Whether a folder has no manifest and nothing but claims and half written files."""
    if (folder / MANIFEST_NAME).exists():
        return False
    return all(name.startswith(".") for _, _, files in os.walk(folder) for name in files)


def _trash(store: Path) -> list[Path]:
    trash = store / SERVICE_FOLDER / TRASH_FOLDER
    if not is_real_folder(trash.parent) or not is_real_folder(trash):
        return []
    with suppress(OSError):
        return [entry for entry in trash.iterdir() if is_real_folder(entry)]
    return []
