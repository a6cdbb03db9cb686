"""Rows of a query, written batch by batch while they are read."""

import csv
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from telemetry import json_values
from telemetry.cli.output.query_cells import exact_text, json_value
from telemetry.cli.output.render import SCHEMA_VERSION
from telemetry.errors import StoreUnreadable
from telemetry.safe_text import clean

if TYPE_CHECKING:
    from telemetry.store.user_sql.row_stream import RowStream


def write_csv(stream: "RowStream", out: TextIO, *, clean_cells: bool = False) -> None:
    """RFC 4180: NULL is empty, every digit is kept; a terminal gets no control characters."""
    writer = csv.writer(out)
    writer.writerow(name for name, _ in stream.columns)
    for row in stream.rows():
        texts = map(exact_text, row)
        writer.writerow(map(clean, texts) if clean_cells else texts)


def write_json(
    stream: "RowStream", out: TextIO, *, safe: Callable[[str], str] = lambda text: text
) -> None:
    """One strict JSON object, which is whole and `truncated` when the rows end too soon."""
    columns = [{"name": name, "type": kind} for name, kind in stream.columns]
    head = json_values.dumps({"schema_version": SCHEMA_VERSION, "columns": columns})
    out.write(safe(head[:-1]) + ', "rows": [')
    separator, is_whole = "", False
    try:
        for row in stream.rows():
            out.write(separator + safe(json_values.dumps([json_value(value) for value in row])))
            separator = ", "
        is_whole = not stream.truncated
    finally:
        out.write(f'], "truncated": {json_values.dumps(not is_whole)}}}\n')


def write_lines(stream: "RowStream", out: TextIO) -> None:
    """Header and rows between tabs, every value whole."""
    out.write("\t".join(clean(name) for name, _ in stream.columns) + "\n")
    out.writelines(
        "\t".join(clean(exact_text(value)) for value in row) + "\n" for row in stream.rows()
    )


def write_file(stream: "RowStream", *, form: str, path: Path) -> "RowStream":
    """The rows in a file, which is there whole or not at all.

    Raises:
        StoreUnreadable: the file cannot be written.
    """
    try:
        with _replacing(path) as part:
            _write_part(stream, form, part)
    except OSError as error:
        raise StoreUnreadable(f"{path} cannot be written: {error.strerror}.") from error
    return stream


def is_kept_apart(path: Path) -> bool:
    """Whether a file can be written beside and replaced; a pipe or a device cannot."""
    return path.is_file() or not path.exists()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Where to write what shall be in a file when it is whole; links stay links."""
    if not is_kept_apart(path):
        yield path
        return
    target = path.resolve()
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _write_part(stream: "RowStream", form: str, path: Path) -> None:
    if form == "parquet":
        from telemetry.store.user_sql.row_files import write_parquet  # noqa: PLC0415 - only for this format

        write_parquet(stream, path)
        return
    writers: dict[str, Callable[[RowStream, TextIO], None]] = {
        "csv": write_csv,
        "json": write_json,
        "table": write_lines,
    }
    with path.open("w", encoding="utf-8", newline="") as out:
        writers[form](stream, out)
