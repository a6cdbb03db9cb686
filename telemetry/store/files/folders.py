"""What lies in the folders of a run: shard files by rank, and what does not belong there."""

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from telemetry.format.runs import RunRef, parse_shard_name

SERVICE_FOLDER = ".telemetry"  # of a store: what is no run

_RANK = re.compile(r"rank=(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFolder:
    """The shard files of one table and rank, dead ones included; `place` is `<table>/rank=<r>`."""

    rank: int
    path: Path
    place: str
    names: tuple[str, ...]


def rank_folders(
    run: RunRef, table_name: str, warn: Callable[[str], None]
) -> tuple[RankFolder, ...]:
    """Folders of one table of a run, by rank; links and foreign files are named and left alone."""
    folder = os.path.join(run.path, table_name)  # noqa: PTH118 - a sweep lists thousands
    if not is_real_folder(folder):
        if not is_real_folder(run.path):
            warn(f"{run.run} disappeared while it was read.")
        elif Path(folder).is_symlink():
            warn(f"{run.run}/{table_name} ignored: it is a link.")
        return ()
    found = []
    for entry in _entries(run, folder, warn):
        match = _RANK.fullmatch(entry.name)
        if match and entry.is_dir(follow_symlinks=False):
            names = _shard_names(run, entry.path, warn)
            place = f"{table_name}/{entry.name}"
            path = Path(entry.path)
            found.append(RankFolder(rank=int(match[1]), path=path, place=place, names=names))
        elif not entry.name.startswith("."):
            _warn_foreign(run, entry, warn)
    return tuple(sorted(found, key=lambda folder: folder.rank))


def is_real_folder(path: str | Path) -> bool:
    """Whether a path is a folder itself, not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def printable(text: str) -> str:
    """The text with control characters, escapes and direction marks escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _shard_names(run: RunRef, folder: str, warn: Callable[[str], None]) -> tuple[str, ...]:
    names = []
    for entry in _entries(run, folder, warn):
        if entry.name.startswith("."):
            continue  # being written, or a leftover of it
        if parse_shard_name(entry.name) and entry.is_file(follow_symlinks=False):
            names.append(entry.name)
        else:
            _warn_foreign(run, entry, warn)
    return tuple(sorted(names))


def _entries(run: RunRef, folder: str, warn: Callable[[str], None]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []  # deleted since its parent was listed
    except OSError as error:
        warn(f"{run.run}/{Path(folder).relative_to(run.path)} skipped: {error.strerror}.")
        return []


def _warn_foreign(run: RunRef, entry: os.DirEntry[str], warn: Callable[[str], None]) -> None:
    place = printable(str(Path(entry.path).relative_to(run.path)))
    what = "it is a link" if entry.is_symlink() else "telemetry did not write it"
    warn(f"{run.run}/{place} ignored: {what}.")
