"""Writes what was found out about a model: rows into its run, pictures and arrays beside them."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from telemetry import json_values
from telemetry.format.regular_files import read_regular
from telemetry.json_values import Json
from telemetry.requests.models import Keep
from telemetry.store.files.kept_files import (
    ARRAYS,
    DOCUMENTS,
    FOLDER,
    IMAGES,
    keep_file,
    write_file,
)
from telemetry.store.results import append_once

MOST_DOCUMENT_BYTES = 64 << 20
MOST_ARRAY_BYTES = 16 << 20  # larger ones belong into a checkpoint
Array = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Keeps the results of one request where it says; paths are relative to that folder.

    Pictures and arrays of a run stay within a budget, see `telemetry.store.files.kept_files`.

    Attributes:
        run: Folder of the run that gets the rows; None: no rows.
        files: Folder of pictures and arrays; None: none are made.
        takes_large: Whether arrays above 16 MiB are kept, too.

    Raises:
        StoreUnreadable: the disk refuses; of all methods.
    """

    run: Path | None
    files: Path | None
    takes_large: bool

    @classmethod
    def of(cls, keep: Keep) -> "Keeper":
        """The keeper that a request asks for."""
        return cls(
            run=None if keep.run is None else Path(keep.run),
            files=None if keep.files is None else Path(keep.files),
            takes_large=keep.takes_large,
        )

    def rows(self, table: str, rows: Sequence[Mapping[str, object]], *, identity: str) -> None:
        """Rows of a table, written now, unless the run has these already; see `append_once`."""
        if self.run is not None and rows:
            moment = datetime.now(UTC).replace(tzinfo=None)
            written = [{**row, "written_at": moment} for row in rows]
            append_once(self.run, table, written, identity=identity)

    def image(self, name: str, draw: Callable[[], bytes | None]) -> str | None:
        """Draw a picture and keep it; None where none is kept or there is nothing to draw."""
        content = None if self.files is None else draw()
        return None if content is None else self._write(f"{IMAGES}/{name}.png", content)

    def array(self, name: str, values: Array) -> str | None:
        """Keep an array as .npy; None where none is kept, or it is too large."""
        if self.files is None or (values.nbytes > MOST_ARRAY_BYTES and not self.takes_large):
            return None
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        return self._write(f"{ARRAYS}/{name}.npy", stream.getvalue())

    def document(self, identity: str, document: Mapping[str, Json]) -> None:
        """Keep what was told of a question in the run, so that it need not be asked again."""
        if self.run is not None:
            content = json_values.dumps(dict(document)).encode()
            keep_file(self.run, f"{DOCUMENTS}/{identity}.json", content)

    def known(self, identity: str) -> dict[str, Json] | None:
        """What was told of a question; None: it was not asked, or files of its answer are gone."""
        if self.run is None:
            return None
        try:
            path = self.run / DOCUMENTS / f"{identity}.json"
            found = json.loads(read_regular(path, limit_bytes=MOST_DOCUMENT_BYTES))
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict):
            return None
        places = [found.get(name) for name in ("image", "array")]
        kept = (self._keeps(place) for place in places if isinstance(place, str))
        return found if all(kept) else None

    def _keeps(self, place: str) -> bool:
        """Whether that is a file among the answers of the run: its name may be anybody's."""
        assert self.run is not None  # noqa: S101 - the caller has looked
        parts = Path(place).parts
        return parts[:1] == (FOLDER,) and ".." not in parts and (self.run / place).is_file()

    def _write(self, place: str, content: bytes) -> str:
        assert self.files is not None  # noqa: S101 - the callers have looked
        if self.files == self.run:
            keep_file(self.files, place, content)
        else:
            write_file(self.files / place, content)
        return place
