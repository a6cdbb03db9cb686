"""Limits of a query hold until its last row is written, and a file is there whole or not at all."""

import csv
import io
import itertools
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import Telemetry, Terminal, validated

from telemetry.store.user_sql import row_stream
from telemetry.store.user_sql.row_stream import BATCH_ROWS

pytestmark = pytest.mark.usefixtures("example")

WIDE = "select range as n, repeat('x', 1000) as text from range(20000)"  # 20 MB
MANY = "select range as n, range::varchar as text from range(50000)"
TICK_S = 1000.0
FORMS = ["table", "csv", "json", "parquet"]


@pytest.fixture
def _two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks when it is read: at the start, before reading, and once a batch."""
    ticks = itertools.count()
    monkeypatch.setattr(row_stream, "now", lambda: TICK_S * next(ticks))


TWO_BATCHES = ("--timeout", str(3.5 * TICK_S))
STOPPED = f"more than 3500 s (after {2 * BATCH_ROWS} rows); request fewer rows with --limit"


@pytest.mark.usefixtures("_two_batches")
def test_the_time_goes_on_while_rows_are_written(telemetry: Telemetry) -> None:
    done = telemetry("query", MANY, "--format", "csv", *TWO_BATCHES)
    assert done.code == 2
    assert STOPPED in done.err
    assert len(list(csv.reader(io.StringIO(done.out)))) == 1 + 2 * BATCH_ROWS


@pytest.mark.usefixtures("_two_batches")
def test_lines_between_tabs_end_with_the_time(telemetry: Telemetry) -> None:
    done = telemetry("query", MANY, *TWO_BATCHES)
    assert done.code == 2
    assert STOPPED in done.err
    assert len(done.out.splitlines()) == 1 + 2 * BATCH_ROWS


@pytest.mark.usefixtures("_two_batches")
def test_a_json_document_that_ends_with_the_time_is_whole_and_says_that_rows_are_missing(
    telemetry: Telemetry,
) -> None:
    done = telemetry("query", MANY, "--json", *TWO_BATCHES)
    document = validated("query", done.out)
    assert done.code == 2
    assert STOPPED in done.err
    assert document["truncated"] is True
    assert len(document["rows"]) == 2 * BATCH_ROWS


@pytest.mark.usefixtures("_two_batches")
@pytest.mark.parametrize("form", FORMS)
def test_a_file_keeps_what_it_held_when_the_time_is_over(
    form: str, telemetry: Telemetry, tmp_path: Path
) -> None:
    target = tmp_path / "kept" / "out"
    target.parent.mkdir()
    target.write_text("before")
    done = telemetry("query", MANY, "--format", form, "--output", target, *TWO_BATCHES)
    assert done.code == 2
    assert STOPPED in done.err
    assert target.read_text() == "before"
    assert list(target.parent.iterdir()) == [target]


def test_rows_that_a_screen_holds_count_against_the_memory(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    terminal(80)
    done = telemetry("query", WIDE, "--memory", "16MiB", "--limit", "20000")
    assert done.code == 2
    assert done.out == ""
    assert "more than 16 MiB (after " in done.err
    assert "raise --memory" in done.err


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_are_written_need_no_memory(
    form: str, telemetry: Telemetry, tmp_path: Path
) -> None:
    done = telemetry(
        "query", WIDE, "--memory", "16MiB", "--format", form, "--output", tmp_path / "out"
    )
    assert (done.code, done.err) == (0, "")
    if form == "json":
        assert len(validated("query", (tmp_path / "out").read_text())["rows"]) == 20_000
    elif form == "parquet":
        assert pq.read_metadata(tmp_path / "out").num_rows == 20_000
    else:
        assert len((tmp_path / "out").read_text().splitlines()) == 20_001


def test_a_batch_larger_than_the_memory_is_refused(telemetry: Telemetry) -> None:
    wide = "select repeat('x', 2000) as text from range(10000)"
    done = telemetry("query", wide, "--memory", "16MiB", "--format", "csv")
    assert done.code == 2
    assert "more than 16 MiB (before its first row)" in done.err


def test_parquet_has_large_row_groups_however_small_the_batches(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    target = tmp_path / "out.parquet"
    telemetry("query", MANY, "--format", "parquet", "--output", target)
    assert pq.read_metadata(target).num_row_groups == 1


def test_an_integer_too_large_for_its_parquet_column_is_an_error_that_leaves_no_file(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    huge = "select case when range < 130000 then range else 2::hugeint ** 70 end::hugeint as n"
    target = tmp_path / "huge" / "out.parquet"
    target.parent.mkdir()
    statement = f"{huge} from range(150000)"
    done = telemetry("query", statement, "--format", "parquet", "--output", target)
    assert done.code == 2
    assert "cast the column to DOUBLE" in done.err
    assert list(target.parent.iterdir()) == []


def test_a_link_stays_a_link_and_a_file_keeps_its_mode(
    telemetry: Telemetry, tmp_path: Path
) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("before")
    target.chmod(0o640)
    link.symlink_to(target)
    assert telemetry("query", "select 1 as n", "--format", "csv", "--output", link).code == 0
    assert link.is_symlink()
    assert target.read_bytes() == b"n\r\n1\r\n"
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_written_to_and_stays(telemetry: Telemetry, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)  # else opening would wait for the other side
    try:
        done = telemetry("query", "select 1 as n", "--format", "csv", "--output", pipe)
        assert done.code == 0
        assert pipe.is_fifo()  # else reading would wait for ever
        assert os.read(reader, 100) == b"n\r\n1\r\n"
    finally:
        os.close(reader)
