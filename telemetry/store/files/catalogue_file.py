"""What readers of many runs keep below `.telemetry`: one line a run, worth nothing by itself.

Each line is valid while the files that it was made of are what they were; whoever uses it compares
their state first. A file that is missing, torn, of another version or not ours holds no line. It is
replaced whole, by rename: of two processes that write, the last one wins, and both were right.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from telemetry.format.regular_files import read_regular
from telemetry.format.runs import publish_bytes
from telemetry.store.files.folders import SERVICE_FOLDER, is_real_folder

logger = logging.getLogger(__name__)

SIZE_LIMIT_BYTES = 64 * 1024 * 1024  # of a file; runs beyond it are read one by one
LINE_LIMIT_BYTES = 256 * 1024  # of a run; one with more is read itself
FEWEST_RUNS = 50  # a store with fewer is read in a twentieth of a second, and stays as it is
# What was changed a moment ago may change again without another time stamp: file systems count in
# milliseconds, some in two seconds.
SETTLED_S = 3.0
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Line:
    """What is kept of a run: the state of the files it was made of, and a JSON text."""

    state: str
    text: bytes


class CatalogueFile:
    """The lines of one file by the place of their run in the store, `project=<p>/run=<id>`."""

    def __init__(self, store: Path, name: str, *, version: str) -> None:
        """Read the file.

        Args:
            store: Folder of the store.
            name: Of the file.
            version: Of what makes the lines; those of another one are not read.
        """
        self._path = store / SERVICE_FOLDER / name
        self._title = f"telemetry {name} {version} "
        self._lines = self._read()
        self._added: dict[str, Line] = {}

    def get(self, place: str) -> Line | None:
        """What is kept of a run; it counts if its files are still in that state."""
        return self._lines.get(place)

    def put(self, place: str, state: str, text: bytes) -> None:
        """Keep a text of one line from the next `save` on."""
        if len(text) <= LINE_LIMIT_BYTES and b"\n" not in text:
            self._added[place] = Line(state, text)

    def save(self) -> None:
        """Replace the file if a line was added; those of runs that are gone are forgotten.

        A store that cannot be written, or is too small to gain, stays as it is.
        """
        if not self._added or len(self._lines.keys() | self._added.keys()) < FEWEST_RUNS:
            return
        store = self._path.parent.parent
        there = {p: line for p, line in self._lines.items() if is_real_folder(store / p)}
        try:
            self._path.parent.mkdir(exist_ok=True)
            if is_real_folder(self._path.parent):
                publish_bytes(self._path, self._content(there | self._added))
        except OSError as error:
            logger.debug("%s is not kept: %s", self._path, error)

    def _content(self, lines: dict[str, Line]) -> bytes:
        body: list[bytes] = []
        n_bytes = 0
        for place, line in lines.items():
            text = b"%s\t%s\t%s\n" % (place.encode(), line.state.encode(), line.text)
            n_bytes += len(text)
            if n_bytes > SIZE_LIMIT_BYTES:
                break
            body.append(text)
        return self._head(joined := b"".join(body)) + joined

    def _head(self, body: bytes) -> bytes:
        digest = hashlib.blake2b(body, digest_size=_DIGEST_BYTES).hexdigest()
        return f"{self._title}{digest}\n".encode()

    def _read(self) -> dict[str, Line]:
        try:
            content = read_regular(self._path, limit_bytes=SIZE_LIMIT_BYTES + 4096)
        except OSError:
            return {}
        head, _, body = content.partition(b"\n")
        if head + b"\n" != self._head(body):
            return {}
        fields = (line.split(b"\t", 2) for line in body.split(b"\n")[:-1])
        try:
            return {place.decode(): Line(state.decode(), text) for place, state, text in fields}
        except ValueError:  # not what `_content` writes
            return {}


def place_of(folder: Path) -> str:
    """Where a run lies in its store, `project=<p>/run=<id>`."""
    return f"{folder.parent.name}/{folder.name}"


def state_of(path: str | os.PathLike[str]) -> os.stat_result | None:
    """What the file system says of a file; links are followed."""
    try:
        return os.stat(path)  # noqa: PTH116 - thousands of them
    except OSError:
        return None


def state_text(found: os.stat_result) -> str:
    """What differs as soon as another file is there, or the same one was written again."""
    return f"{found.st_size},{found.st_mtime_ns},{found.st_ctime_ns},{found.st_ino}"


def is_settled(found: os.stat_result, *, now_s: float) -> bool:
    """Whether another change would have another time stamp."""
    return now_s - max(found.st_mtime, found.st_ctime) > SETTLED_S
