"""Pictures, arrays and pages beside the rows of a run: within a budget, and the oldest make way."""

import stat
from collections.abc import Iterator
from pathlib import Path

from telemetry.errors import StoreUnreadable
from telemetry.format.runs import publish_bytes, remove_quietly

FOLDER = "explain"  # in a run and in an export
IMAGES, ARRAYS, PAGES = f"{FOLDER}/images", f"{FOLDER}/arrays", f"{FOLDER}/html"
DOCUMENTS = f"{FOLDER}/answers"  # what was told of a question, to tell it again
BUDGET_BYTES = 500_000_000  # of a run
# In this order they make way: what is drawn is drawn again, arrays hold what pictures were made of.
FOLDERS = (("images", "html"), ("arrays", "answers"))


def keep_file(run: Path, place: str, content: bytes) -> None:
    """Write a file of a run, or replace it, and have others make way where there is no room.

    Args:
        run: The run folder.
        place: Relative to it, such as `explain/images/<id>.png`.
        content: Of the file.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    write_file(run / place, content)
    keep_within(run / FOLDER, run / place)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, or replace it; its folder is made.

    Raises:
        StoreUnreadable: the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        publish_bytes(path, content)
    except OSError as error:
        raise StoreUnreadable(f"{path}: cannot be written ({error.strerror}).") from error


def keep_within(folder: Path, spare: Path, budget_bytes: int = BUDGET_BYTES) -> list[Path]:
    """Remove the oldest files, pictures before arrays, until the rest fits.

    Rows that name a removed file stay: `telemetry explain show` says that it is gone.

    Args:
        folder: `explain/` of a run.
        spare: The file that was written last; it stays whatever its size.
        budget_bytes: What all files together may take.

    Returns:
        What was removed.
    """
    groups = [sorted(file for name in names for file in _files(folder / name)) for names in FOLDERS]
    total = sum(size for group in groups for _, size, _ in group)
    removed: list[Path] = []
    for _, size, path in (file for group in groups for file in group):
        if total <= budget_bytes:
            break
        if path != spare:
            remove_quietly(path)
            removed.append(path)
            total -= size
    return removed


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """Files of a folder with time and size; links are not followed."""
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for path in entries:
        try:
            found = path.lstat()
        except OSError:  # removed meanwhile
            continue
        if stat.S_ISREG(found.st_mode) and not path.name.startswith("."):
            yield found.st_mtime, found.st_size, path
