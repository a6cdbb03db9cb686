"""Raw rows as registered pyarrow data sets: DuckDB reads them without opening a file itself."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds

from telemetry.format.tables import ARROW_TYPES, PATH_COLUMNS, Table
from telemetry.store.files.shard_file import ShardFile
from telemetry.store.sessions import sql

_PATH_SCHEMA = pa.schema([(name, ARROW_TYPES[kind]) for name, kind in PATH_COLUMNS.items()])


class Datasets:
    """Binds `raw_<table>` as a data set over explicit files; columns that a file lacks are NULL."""

    def bind(
        self, connection: duckdb.DuckDBPyConnection, schema: Table, files: Sequence[ShardFile]
    ) -> None:
        """Register `raw_<table>`."""
        make = _with_places if schema.name in sql.ORDERED_TABLES else _dataset
        connection.register(f"{sql.RAW_PREFIX}{schema.name}", make(schema, files))


def _dataset(schema: Table, files: Sequence[ShardFile]) -> ds.Dataset:
    return ds.dataset(
        [str(file.path) for file in files],
        schema=pa.schema([*_PATH_SCHEMA, *schema.arrow_schema()]),
        format="parquet",
        partitioning=ds.partitioning(_PATH_SCHEMA, flavor="hive"),
        # A folder above the store may be called step=5; it is not a partition.
        partition_base_dir=str(files[0].run.path.parent.parent),
    )


def _with_places(schema: Table, files: Sequence[ShardFile]) -> pa.Table:
    """Catalogues in memory, each row with its file and place, by which the newest is found."""
    return pa.concat_tables([_with_place(schema, file) for file in files])


def _with_place(schema: Table, file: ShardFile) -> pa.Table:
    read = ds.dataset([str(file.path)], schema=schema.arrow_schema(), format="parquet")
    rows = read.to_table()
    keys = [file.run.project, file.run.run, file.rank]
    given = [
        pa.repeat(pa.scalar(value, field.type), rows.num_rows)
        for field, value in zip(_PATH_SCHEMA, keys, strict=True)
    ]
    shard = pa.repeat(pa.scalar(file.path.name), rows.num_rows)
    place = pa.array(range(rows.num_rows), type=pa.int64())
    names = [*_PATH_SCHEMA.names, *rows.column_names, *sql.SHARD_COLUMNS]
    return pa.table([*given, *rows.columns, shard, place], names=names)
