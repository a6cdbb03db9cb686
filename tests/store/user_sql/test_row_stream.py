"""Rows in batches: what is read again when a shard breaks, and what a limit counts."""

import threading
from pathlib import Path

import pytest
from synthetic import RunBuilder
from two_shards import break_pages

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.store.store import Store
from telemetry.store.user_sql.query import query_runs, stream_query
from telemetry.store.user_sql.row_stream import QueryLimits, ReadFailed, RowStream

WAIT_S = 20.0
STEPS = "SELECT run, step FROM steps"


class Torn:
    """Takes rows, and the first time finds that a shard has broken meanwhile."""

    def __init__(self, shard: Path) -> None:
        self._shard = shard
        self.n_rows: list[int] = []

    def __call__(self, stream: RowStream) -> RowStream:
        self.n_rows.append(sum(batch.num_rows for batch in stream))
        if len(self.n_rows) == 1:
            break_pages(self._shard)
            raise ReadFailed(OSError(5, "Input/output error"))
        return stream


@pytest.fixture
def store(tmp_path: Path) -> Store:
    RunBuilder(store=tmp_path, run="whole").losses([3.0, 2.0]).write()
    RunBuilder(store=tmp_path, run="torn").losses([3.0, 2.0, 1.0]).write()
    return Store.open(tmp_path)


def shard(store: Store) -> Path:
    return next(store.path.rglob("run=torn/steps/*/*.parquet"))


def test_rows_that_can_be_taken_back_are_read_again_without_the_broken_shard(
    store: Store,
) -> None:
    write = Torn(shard(store))

    stream = stream_query(store, STEPS, write, limits=QueryLimits())

    assert write.n_rows == [5, 2]
    assert stream.n_rows == 2
    assert shard(store).name in stream.warnings[0]


def test_rows_that_are_out_are_not_written_twice(store: Store) -> None:
    write = Torn(shard(store))

    with pytest.raises(StoreUnreadable, match=r"after 5 rows were written.*--output FILE"):
        stream_query(store, STEPS, write, limits=QueryLimits(), can_repeat=False)
    assert write.n_rows == [5]


def test_rows_in_memory_count_against_its_limit(store: Store) -> None:
    with pytest.raises(UsageError, match=r"more than 4 MiB \(after \d+0000 rows\).*--memory"):
        query_runs(store, "SELECT range FROM range(1000000)", memory_bytes=4 * 2**20)


def test_a_statement_that_begins_when_the_time_is_over_is_interrupted_as_well() -> None:
    class Deaf:
        """Forgets the first interrupt, as DuckDB does between two statements."""

        def __init__(self) -> None:
            self.n_calls = 0
            self.again = threading.Event()

        def interrupt(self) -> None:
            self.n_calls += 1
            if self.n_calls > 1:
                self.again.set()

    connection = Deaf()

    with QueryLimits(timeout_s=0.0).interrupting(connection):
        assert connection.again.wait(WAIT_S)
