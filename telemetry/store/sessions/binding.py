"""Makes the views a statement mentions, and nothing else, on one DuckDB connection.

Two sources of raw rows: Parquet files by explicit list (the product's own statements) and
registered pyarrow datasets (statements that a user typed, on a connection that may open nothing).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import duckdb

from telemetry.format.tables import Table, table, table_names
from telemetry.store.files.shard_file import ShardFile
from telemetry.store.runs.listing import Listing
from telemetry.store.sessions import sql
from telemetry.store.sessions.manifest_tables import MANIFEST_TABLES, manifest_table
from telemetry.store.sessions.run_metrics import OpenSession

if TYPE_CHECKING:
    from pathlib import Path

# Small results that many statements read: computed once, unless the rows behind are too many.
# None carries a histogram or bitmap into its rows.
COMPUTED_ONCE = frozenset(
    {
        "attempts_live",
        "bins",
        "tensors",
        "modules",
        "layers",
        "activations",
        "steps",
        "metrics",
        "events",
        "findings",
    }
)
# A diagnosis reads each of these in 15 places: their rows are taken from the shards once. A row of
# tensor_points takes 200 bytes.
READ_BY_MANY = frozenset({"tensor_points", "module_numbers"})
# Views that merge the ranks of a table, and have a cheaper text for runs of one rank.
MERGED_RANKS = {
    "tensor_parts": "tensor_stats",
    "tensor_points": "tensor_stats",
    "dead_points": "module_stats",
}
COMPUTED_ONCE_ROWS = 400_000  # rows of raw tables behind


class RawSource(Protocol):
    """Makes `raw_<table>` on a connection from the live files of the table."""

    def bind(
        self, connection: duckdb.DuckDBPyConnection, schema: Table, files: Sequence[ShardFile]
    ) -> None:
        """Create `raw_<table>`; `files` is not empty."""
        ...


class Binder:
    """What exists on a connection so far; `bind` adds what is missing."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        listing: Listing,
        source: RawSource,
        *,
        open_session: OpenSession,
        all_attempts: bool,
        computed_once_rows: int,
        computed_once: frozenset[str] = COMPUTED_ONCE,
    ) -> None:
        self._connection = connection
        self._listing = listing
        self._source = source
        self._open_session = open_session
        self._all_attempts = all_attempts
        self._computed_once_rows = computed_once_rows
        self._computed_once = computed_once
        self._bound: set[str] = set()

    def bind(self, names: Iterable[str]) -> None:
        """Create the named views and what they stand on; unknown names are left to DuckDB."""
        for name in names:
            if name in self._bound or name not in known_names():
                continue
            if name in MANIFEST_TABLES:
                made = manifest_table(name, self._listing, self._open_session)
                self._connection.register(name, made)
            elif name.startswith(sql.RAW_PREFIX):
                self._bind_raw(table(name.removeprefix(sql.RAW_PREFIX)))
            else:
                self._bind_view(name)
            self._bound.add(name)

    def _bind_raw(self, schema: Table) -> None:
        files = self._listing.sound_files(schema.name)
        if files:
            self._source.bind(self._connection, schema, files)
            return
        self._connection.execute(schema.ddl())
        extra = "".join(
            f", CAST(NULL AS {kind}) AS {name}"
            for name, kind in sql.SHARD_COLUMNS.items()
            if schema.name in sql.ORDERED_TABLES
        )
        empty = f"SELECT *{extra} FROM {sql.identifier(f'proto_{schema.name}')}"  # noqa: S608
        create_view(self._connection, f"{sql.RAW_PREFIX}{schema.name}", empty)

    def _bind_view(self, name: str) -> None:
        text = sql.view_text(self._variant(name))
        self.bind(sql.dependencies(text))
        if name in self._computed_once and self._n_rows(name) <= self._computed_once_rows:
            self._connection.execute(f"CREATE TABLE {sql.identifier(name)} AS {text}")
        else:
            create_view(self._connection, name, text)

    def _n_rows(self, name: str) -> int:
        return self._listing.n_rows(raw_tables(name))

    def _variant(self, name: str) -> str:
        """The text of a view that fits the runs: cheaper where nothing has to be merged."""
        if name == "attempts_live" and self._all_attempts:
            return "attempts_live_all"
        merged = MERGED_RANKS.get(name)
        if merged is not None and _one_rank_each(self._listing.files(merged)):
            return f"{name}_one_rank"
        return name


def create_view(connection: duckdb.DuckDBPyConnection, name: str, text: str) -> None:
    """A view of one of our names over a SELECT of ours."""
    connection.execute(f"CREATE VIEW {sql.identifier(name)} AS {text}")


def known_names() -> frozenset[str]:
    """Everything a statement may read."""
    raw = (f"{sql.RAW_PREFIX}{name}" for name in table_names())
    return frozenset({*sql.view_names(), *MANIFEST_TABLES, *raw})


def raw_tables(view: str) -> frozenset[str]:
    """Tables whose rows a view reads, through other views too."""
    if view.startswith(sql.RAW_PREFIX):
        return frozenset({view.removeprefix(sql.RAW_PREFIX)})
    if view not in sql.view_names():
        return frozenset()
    names = sql.dependencies(sql.view_text(view))
    return frozenset().union(*(raw_tables(name) for name in names))


def _one_rank_each(files: Sequence[ShardFile]) -> bool:
    pairs = {(file.run.path, file.rank) for file in files}
    return len(pairs) == len({path for path, _ in pairs})


class ParquetFiles:
    """Raw rows by `read_parquet` over explicit lists; for statements of our own."""

    def bind(
        self, connection: duckdb.DuckDBPyConnection, schema: Table, files: Sequence[ShardFile]
    ) -> None:
        """Create `raw_<table>` as a union over schema versions."""
        parts = [
            scan
            for version in sorted({file.version for file in files})
            for scan in _scans(schema, version, [f for f in files if f.version == version])
        ]
        create_view(connection, f"{sql.RAW_PREFIX}{schema.name}", " UNION ALL ".join(parts))


def _scans(schema: Table, version: int, files: Sequence[ShardFile]) -> list[str]:
    if all(_hive_readable(file) for file in files):
        return [sql.scan_by_hive(schema, [str(file.path) for file in files], version=version)]
    groups: dict[tuple[Path, int], list[ShardFile]] = {}
    for file in files:
        groups.setdefault((file.run.path, file.rank), []).append(file)
    return [
        sql.scan_by_value(
            schema,
            [str(file.path) for file in group],
            version=version,
            project=group[0].run.project,
            run=group[0].run.run,
            rank=group[0].rank,
        )
        for group in groups.values()
    ]


def _hive_readable(file: ShardFile) -> bool:
    """Whether DuckDB reads project and run off the path as they are.

    It takes every `key=value` folder for a column, also one above the store that hides a column of
    the file (measured: below `step=5/` every row has step 5), and the value `null` for NULL.
    """
    store = file.run.path.parent.parent
    plain = "null" not in {file.run.project.lower(), file.run.run.lower()}
    return plain and not any("=" in part for part in store.parts)
