"""A copy of a training's working directory, so that what the script writes harms nothing."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from telemetry.errors import UsageError

LIMIT_BYTES = 512 * 1024 * 1024
LIMIT_FILES = 20_000
LEFT_OUT = frozenset({".git", "__pycache__", "node_modules", ".mypy_cache", ".pytest_cache"})
VIRTUAL_ENVIRONMENT = "pyvenv.cfg"  # lies in its root


def check_size(folder: Path, store: Path) -> None:
    """Refuse a folder that is too large to be copied for each trial.

    Raises:
        UsageError: it is.
    """
    n_bytes = 0
    for n_files, path in enumerate(_files(folder, store), start=1):
        n_bytes += 0 if path.is_symlink() else path.stat().st_size
        if n_bytes > LIMIT_BYTES or n_files > LIMIT_FILES:
            raise UsageError(
                f"the working directory {folder} has more than {LIMIT_BYTES >> 20} MiB or "
                f"{LIMIT_FILES} files, too much to copy for each trial; use --in-place to run the "
                "script there, where it may overwrite what it wrote before."
            )


def copy_folder(folder: Path, to: Path, store: Path) -> None:
    """Copy a working directory without the store of runs, environments and caches.

    Links out of the folder lead where they led before; others stay within the copy.
    """
    to.mkdir(parents=True, exist_ok=True)
    for path in _files(folder, store):
        target = to / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            inside = path.resolve().is_relative_to(folder.resolve())
            leads = path.readlink()
            target.symlink_to(leads if inside else (path.parent / leads).absolute())
        elif path.is_file():
            shutil.copy2(path, target)


def _files(folder: Path, store: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        here = Path(place)
        inner = [here / name for name in folders]
        links = [path for path in inner if path.is_symlink()]
        folders[:] = [path.name for path in inner if path not in links and _is_copied(path, store)]
        yield from links
        yield from (here / name for name in names)


def _is_copied(folder: Path, store: Path) -> bool:
    is_own = folder.name not in LEFT_OUT and not (folder / VIRTUAL_ENVIRONMENT).exists()
    return is_own and folder.absolute() != store.absolute()
