"""Writes what was found out about a model: rows into its run, pictures and arrays beside them."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from telemetry.requests.models import Keep
from telemetry.store.kept_files import ARRAYS, IMAGES, keep_file, write_file
from telemetry.store.results import append_once

MOST_ARRAY_BYTES = 16 << 20  # larger ones belong into a checkpoint
Array = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Keeps the results of one request where it says; paths are relative to that folder.

    Pictures and arrays of a run stay within a budget, see `telemetry.store.kept_files`.

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

    def _write(self, place: str, content: bytes) -> str:
        assert self.files is not None  # noqa: S101 - the callers have looked
        if self.files == self.run:
            keep_file(self.files, place, content)
        else:
            write_file(self.files / place, content)
        return place
