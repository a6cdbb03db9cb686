"""Tables: `schemas/*.toml` read into columns, Arrow schemas and SQL types.

The TOML files are the single source of every table: the writer's Arrow schema, the reader's
prototypes, the data dictionary and the tests are made from them.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import pyarrow as pa

from telemetry.errors import UsageError

ARROW_TYPES = {
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "REAL": pa.float32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "TIMESTAMP": pa.timestamp("us"),
}
# Path values, not columns of the files: DuckDB silently prefers the path over a column.
PATH_COLUMNS = {"project": "VARCHAR", "run": "VARCHAR", "rank": "INTEGER"}
ENCODINGS = {
    "delta": "DELTA_BINARY_PACKED",
    "split": "BYTE_STREAM_SPLIT",
    "dictionary": None,
    "plain": "PLAIN",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its SQL type, unit, encoding in Parquet, how ranks merge, and its meaning."""

    name: str
    type: str
    unit: str
    doc: str
    nullable: bool
    encoding: str
    merge: str
    since: int

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type of the column."""
        return ARROW_TYPES[self.type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: columns in file order, the key that shards are sorted by, and its version.

    `view` says what a row of the public view is that shows every row of the table; '' where none
    does, or where a file of `telemetry.store.views` says more.
    """

    name: str
    version: int
    doc: str
    sort: tuple[str, ...]
    columns: tuple[Column, ...]
    view: str = ""

    def arrow_schema(self) -> pa.Schema:
        """The schema of a shard; every nullable column is always written."""
        return pa.schema(
            [pa.field(c.name, c.arrow_type, nullable=c.nullable) for c in self.columns]
        )

    def ddl(self) -> str:
        """Column definitions of an empty table that gives types when there is no file."""
        lines = [f'    "{name}" {kind}' for name, kind in PATH_COLUMNS.items()]
        lines += [f'    "{column.name}" {column.type}' for column in self.columns]
        return f'CREATE TABLE "proto_{self.name}" (\n' + ",\n".join(lines) + "\n)"

    def column_encodings(self) -> dict[str, str]:
        """Parquet encodings of the columns that are not dictionary encoded."""
        found = {c.name: ENCODINGS[c.encoding] for c in self.columns}
        return {name: encoding for name, encoding in found.items() if encoding is not None}

    def dictionary_columns(self) -> list[str]:
        """Columns of few distinct values."""
        return [c.name for c in self.columns if c.encoding == "dictionary"]


def default_encoding(kind: str) -> str:
    """The encoding of a type that says none: measured best in bytes per row."""
    if kind in {"REAL", "DOUBLE"}:
        return "split"
    if kind in {"INTEGER", "BIGINT", "TIMESTAMP"}:
        return "delta"
    return "plain" if kind in {"BLOB", "BOOLEAN"} else "dictionary"


@cache
def table_names() -> tuple[str, ...]:
    """Every table with a schema file, sorted."""
    files = resources.files("telemetry.schemas").iterdir()
    return tuple(sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml")))


@cache
def table(name: str) -> Table:
    """The table of that name.

    Raises:
        UsageError: no schema file has that name.
    """
    if name not in table_names():
        raise UsageError(
            f"table {name!r} has no schema; known tables are {', '.join(table_names())}."
        )
    text = resources.files("telemetry.schemas").joinpath(f"{name}.toml").read_text("utf-8")
    return parse_table(text)


def parse_table(text: str) -> Table:
    """A table from the text of its schema file."""
    raw = tomllib.loads(text)
    columns = tuple(
        Column(
            name=entry["name"],
            type=entry["type"],
            unit=entry.get("unit", ""),
            doc=entry["doc"],
            nullable=entry.get("nullable", True),
            encoding=entry.get("encoding", default_encoding(entry["type"])),
            merge=entry.get("merge", "key"),
            since=entry.get("since", 1),
        )
        for entry in raw["column"]
    )
    return Table(
        name=raw["table"],
        version=raw["version"],
        doc=raw["doc"],
        sort=tuple(raw["sort"]),
        columns=columns,
        view=raw.get("view", ""),
    )
