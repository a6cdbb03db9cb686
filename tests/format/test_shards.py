import dataclasses
import hashlib
import os
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.errors import SchemaMismatch, StoreUnreadable
from telemetry.format.runs import new_shard_name
from telemetry.format.shards import (
    arrange,
    foreign_files,
    listed_shards,
    read_footer,
    read_shard,
    sweep_parts,
    table_folder,
    write_shard,
)
from telemetry.format.tables import Column, Table, table, table_names

FLOAT32 = st.floats(width=32)
VALUES = {
    "BOOLEAN": st.booleans(),
    "INTEGER": st.integers(-(2**31), 2**31 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "REAL": FLOAT32,
    "DOUBLE": st.floats(),
    "VARCHAR": st.text(max_size=12),
    "BLOB": st.binary(max_size=70),
    "TIMESTAMP": st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 - naive
}
NAME = new_shard_name(first=0, last=9, attempt=1)


def column_values(column: Column, size: int) -> st.SearchStrategy[list[object]]:
    value = VALUES[column.type]
    return st.lists(st.none() | value if column.nullable else value, min_size=size, max_size=size)


@st.composite
def tables_of_rows(draw: st.DrawFn) -> tuple[Table, pa.Table]:
    schema = table(draw(st.sampled_from(table_names())))
    size = draw(st.integers(0, 6))
    arrays = {
        column.name: pa.array(draw(column_values(column, size)), type=column.arrow_type)
        for column in schema.columns
    }
    return schema, pa.table(arrays)


def sorted_text(rows: pa.Table) -> list[str]:
    return sorted(repr(row) for row in rows.to_pylist())


def steps(values: list[int]) -> pa.Table:
    return pa.table(
        {
            "step": pa.array(values, pa.int64()),
            "attempt": pa.array([1] * len(values), pa.int32()),
            "flags": pa.array([0] * len(values), pa.int32()),
        }
    )


@settings(deadline=None, max_examples=60)
@given(tables_of_rows())
def test_rows_of_any_table_read_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[Table, pa.Table]
) -> None:
    schema, rows = drawn
    shard = write_shard(tmp_path_factory.mktemp("t"), schema, rows, NAME)
    read = read_shard(shard.path)
    assert sorted_text(read) == sorted_text(rows)
    assert read.schema.equals(schema.arrow_schema(), check_metadata=False)
    assert shard.rows == rows.num_rows


def test_a_shard_says_what_it_is(tmp_path: Path) -> None:
    folder = table_folder(tmp_path, "steps", 3)
    shard = write_shard(folder, table("steps"), steps([7, 5, 6]), NAME)
    assert shard.path == tmp_path / "steps" / "rank=3" / str(NAME)
    assert (shard.min_step, shard.max_step) == (5, 7)
    content = shard.path.read_bytes()
    assert shard.n_bytes == len(content)
    assert shard.blake2b == hashlib.blake2b(content, digest_size=16).hexdigest()
    footer = read_footer(shard.path)
    assert (footer.rows, footer.min_step, footer.max_step) == (3, 5, 7)
    assert footer.version == table("steps").version
    assert list(footer.columns) == table("steps").arrow_schema().names
    metadata = pq.read_metadata(shard.path).metadata
    assert metadata[b"telemetry.attempt"] == b"1"
    assert metadata[b"telemetry.table"] == b"steps"


def test_rows_are_sorted_by_the_key_of_their_table(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, table("steps"), steps([7, 5, 6]), NAME)
    assert read_shard(shard.path).column("step").to_pylist() == [5, 6, 7]


def test_missing_columns_are_null_and_the_order_is_the_tables(tmp_path: Path) -> None:
    rows = steps([1]).select(["flags", "attempt", "step"])
    shard = write_shard(tmp_path, table("steps"), rows, NAME)
    assert read_shard(shard.path).column("loss").to_pylist() == [None]


def test_a_catalogue_without_steps_has_no_range(tmp_path: Path) -> None:
    schema = table("modules")
    arrays = {
        column.name: pa.array(["x"] if column.type == "VARCHAR" else [1], type=column.arrow_type)
        for column in schema.columns
    }
    shard = write_shard(tmp_path, schema, pa.table(arrays), NAME)
    assert (shard.min_step, shard.max_step) == (None, None)
    assert read_footer(shard.path).min_step is None


def test_an_unknown_column_is_refused_by_name() -> None:
    rows = steps([1]).append_column("lossy", pa.array([1.0]))
    with pytest.raises(SchemaMismatch, match="steps: unknown columns lossy"):
        arrange(table("steps"), rows)


def test_a_required_column_must_be_there_and_filled() -> None:
    with pytest.raises(SchemaMismatch, match=r"steps\.flags is missing or NULL"):
        arrange(table("steps"), steps([1]).drop_columns(["flags"]))
    holed = steps([1]).set_column(0, "step", pa.array([None], pa.int64()))
    with pytest.raises(SchemaMismatch, match=r"steps\.step is missing or NULL"):
        arrange(table("steps"), holed)


def test_no_shard_is_ever_overwritten(tmp_path: Path) -> None:
    write_shard(tmp_path, table("steps"), steps([1]), NAME)
    (tmp_path / f".{NAME}.part").touch()
    with pytest.raises(FileExistsError):
        write_shard(tmp_path, table("steps"), steps([2]), NAME)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_nothing_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if call == "fsync" else Path, call, refuse)
    with pytest.raises(OSError, match="No space"):
        write_shard(tmp_path, table("steps"), steps([1]), NAME)
    assert list(tmp_path.iterdir()) == []


def test_a_rename_that_happened_and_reports_an_error_is_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def renamed_then_failed(self: Path, target: Path) -> None:
        real(self, target)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", renamed_then_failed)
    shard = write_shard(tmp_path, table("steps"), steps([1]), NAME)
    assert read_shard(shard.path).num_rows == 1


def test_full_devices_are_an_error_and_not_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def to_full_device(path: Path, flags: int, mode: int = 0o777) -> int:
        return real("/dev/full" if str(path).endswith(".part") else path, flags & ~os.O_EXCL, mode)

    monkeypatch.setattr(os, "open", to_full_device)
    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path, table("steps"), steps([1]), NAME)
    assert listed_shards(tmp_path) == []


def test_listing_sees_published_shards_and_nothing_else(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, table("steps"), steps([1]), NAME)
    (tmp_path / "notes.csv").touch()
    (tmp_path / f".{new_shard_name(first=10, last=19, attempt=1)}.part").touch()
    link = tmp_path / str(new_shard_name(first=20, last=29, attempt=1))
    link.symlink_to(shard.path)
    (tmp_path / str(new_shard_name(first=30, last=39, attempt=1))).mkdir()
    assert listed_shards(tmp_path) == [shard.path]
    foreign = foreign_files(tmp_path)
    assert tmp_path / "notes.csv" in foreign
    assert link in foreign
    assert shard.path not in foreign


def test_a_folder_that_is_not_there_has_no_shards(tmp_path: Path) -> None:
    assert listed_shards(tmp_path / "gone") == []
    assert foreign_files(tmp_path / "gone") == []


@pytest.mark.parametrize("cut", [0, 4, 0.5, -8, -4])
def test_a_torn_file_is_unreadable_and_says_where(tmp_path: Path, cut: float) -> None:
    path = write_shard(tmp_path, table("steps"), steps(list(range(100))), NAME).path
    content = path.read_bytes()
    size = int(len(content) * cut) if isinstance(cut, float) else cut
    path.write_bytes(content[:size])
    for reader in (read_shard, read_footer):
        with pytest.raises(StoreUnreadable, match=str(NAME)):
            reader(path)


def test_a_flipped_bit_in_a_page_is_found(tmp_path: Path) -> None:
    path = write_shard(tmp_path, table("steps"), steps(list(range(1000))), NAME).path
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StoreUnreadable, match="not a readable shard"):
        read_shard(path)


def test_a_parquet_file_of_somebody_else_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / str(NAME)
    pq.write_table(pa.table({"step": [1]}), path)
    with pytest.raises(StoreUnreadable, match="not written by telemetry"):
        read_footer(path)


def test_leftovers_of_a_kill_are_swept_when_they_are_old(tmp_path: Path) -> None:
    folder = table_folder(tmp_path, "steps", 0)
    shard = write_shard(folder, table("steps"), steps([1]), NAME)
    old = folder / f".{NAME}.part"
    manifest = tmp_path / ".run.json.0123.part"
    young = folder / f".{new_shard_name(first=10, last=19, attempt=1)}.part"
    for path in (old, manifest, young):
        path.touch()
    now_s = time.time()
    for path in (old, manifest):
        os.utime(path, (now_s - 7200, now_s - 7200))
    assert sweep_parts(tmp_path, older_than_s=3600, now_s=now_s) == 2
    assert young.exists()
    assert shard.path.exists()
    assert not old.exists()


def test_repeated_values_cost_next_to_nothing(tmp_path: Path) -> None:
    n_rows = 10_000
    rows = steps(list(range(n_rows))).append_column("loss", pa.array(np.linspace(2.0, 1.0, n_rows)))
    shard = write_shard(tmp_path, table("steps"), rows, NAME)
    assert shard.n_bytes < 6 * n_rows


def test_a_shard_is_a_record_of_values(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, table("steps"), steps([1]), NAME)
    with pytest.raises(dataclasses.FrozenInstanceError):
        shard.rows = 2
