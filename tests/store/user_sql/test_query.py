"""Statements that somebody typed: they read the views and can do nothing else."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import RunBuilder
from two_shards import break_pages

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.runs import new_shard_name
from telemetry.store.sessions.sql import public_views
from telemetry.store.store import Store
from telemetry.store.user_sql import sandbox
from telemetry.store.user_sql.datasets import Datasets
from telemetry.store.user_sql.query import describe_views, query_runs

REFUSED_STATEMENTS = [
    "COPY (SELECT 1) TO '{out}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
    "EXPLAIN SELECT 1",
    "ATTACH '{out}' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET threads = 1",
    "RESET threads",
    "PRAGMA database_list",
    "EXPORT DATABASE '{out}'",
    "CALL pragma_version()",
    "CREATE TABLE t (a INTEGER)",
    "DROP VIEW runs",
    "INSERT INTO runs VALUES (1)",
    "UPDATE runs SET name = 'x'",
    "DELETE FROM runs",
    "PREPARE a AS SELECT 1",
    "BEGIN",
    "CHECKPOINT",
    "PIVOT steps ON attempt USING SUM(loss)",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{out}'",
    "",
    "-- nothing",
]
REFUSED_BY_THE_LOCK = [
    "WITH x AS (COPY (SELECT 1) TO '{out}') SELECT 1",
    "WITH x AS (DELETE FROM runs RETURNING *) SELECT * FROM x",
    "SELECT * FROM read_parquet('{shard}')",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM parquet_metadata('{shard}')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{out}''')",
    "SELECT * FROM query_table('{secret}')",
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    builder = RunBuilder(store=tmp_path / "store").losses([3.0, 2.0, 1.0])
    builder.parameter("fc.weight", shape=(4, 16), depth=0)
    for step in range(3):
        builder.norm("fc.weight", "gradient", step, 1.0 + step, n=64)
    builder.metric("val_loss", {2: 1.5}).event("attach").write()
    return Store.open(tmp_path / "store")


@pytest.fixture
def untouched(store: Store, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Paths to reach for; afterwards nothing in the store and nothing beside it has changed."""
    (tmp_path / "secret.csv").write_text("password\nhunter2\n")
    before = fingerprint(tmp_path)
    yield {
        "out": str(tmp_path / "out.csv"),
        "secret": str(tmp_path / "secret.csv"),
        "folder": str(tmp_path),
        "shard": str(next(store.path.rglob("*.parquet"))),
    }
    assert fingerprint(tmp_path) == before


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("statement", REFUSED_STATEMENTS)
def test_anything_but_one_select_is_refused(
    store: Store, untouched: dict[str, str], statement: str
) -> None:
    with pytest.raises(UsageError):
        query_runs(store, statement.format(**untouched))


@pytest.mark.parametrize("statement", REFUSED_BY_THE_LOCK)
def test_a_select_reaches_no_file_and_writes_nothing(
    store: Store, untouched: dict[str, str], statement: str
) -> None:
    with pytest.raises(UsageError) as caught:
        query_runs(store, statement.format(**untouched))

    assert "hunter2" not in str(caught.value)


def test_variables_of_python_are_not_tables(store: Store) -> None:
    secret = [{"password": "hunter2"}]

    with pytest.raises(UsageError, match=r"does not exist.*Views: runs, attempts"):
        query_runs(store, "SELECT * FROM secret")
    assert secret


def test_a_query_that_never_ends_is_interrupted(store: Store, untouched: dict[str, str]) -> None:
    assert untouched

    with pytest.raises(UsageError, match=r"more than 0.1 s"):
        query_runs(
            store,
            "SELECT SUM(a.range * b.range) FROM range(100000) AS a, range(10000) AS b",
            timeout_s=0.1,
        )


def test_a_query_that_needs_too_much_memory_says_so(store: Store) -> None:
    with pytest.raises(UsageError, match=r"more than 128 MiB .*raise --memory"):
        query_runs(store, "SELECT ARRAY_AGG(range) FROM range(100000000)", memory_bytes=128 * 2**20)


def test_the_folder_for_spilling_is_removed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spill))

    query_runs(store, "SELECT * FROM runs")
    with pytest.raises(UsageError):
        query_runs(store, "SELECT nope FROM runs")

    assert list(spill.iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "n_rows"),
    [
        ("SELECT layer, MAX(grad_norm) FROM layers GROUP BY 1", 1),
        ("WITH a AS (SELECT * FROM steps) SELECT * FROM a", 3),
        ("FROM metrics", 1),
        ("VALUES (1), (2)", 2),
        ("TABLE events", 1),
        ("(SELECT 1)", 1),
        ("DESCRIBE runs", 15),
        ("FROM (PIVOT steps ON attempt IN (1) USING SUM(loss) GROUP BY run)", 1),
        ("SELECT * FROM quantiles", 0),
        ("SELECT * FROM tensors", 3),
    ],
)
def test_what_reads_is_allowed(store: Store, statement: str, n_rows: int) -> None:
    assert query_runs(store, statement).arrow.num_rows == n_rows


def test_show_tables_shows_the_views(store: Store) -> None:
    names = query_runs(store, "SHOW TABLES").arrow.column("name").to_pylist()

    assert set(public_views()) <= set(names)


@pytest.mark.parametrize("view", public_views())
def test_typed_statements_and_the_product_see_the_same_rows(store: Store, view: str) -> None:
    sql = f"SELECT * FROM {view}"  # noqa: S608 - our own name

    typed = query_runs(store, sql).arrow
    with store.session(store.runs()) as session:
        ours = session.query(sql).arrow

    assert typed.column_names == ours.column_names
    assert sorted(map(repr, typed.to_pylist())) == sorted(map(repr, ours.to_pylist()))


def test_columns_have_the_types_of_duckdb(store: Store) -> None:
    result = query_runs(store, "SELECT run, COUNT(*) AS n, SUM(step) AS s FROM steps GROUP BY 1")

    assert result.columns == (("run", "VARCHAR"), ("n", "BIGINT"), ("s", "HUGEINT"))
    assert result.arrow.to_pylist()[0]["s"] == 3
    assert result.warnings == ()


@pytest.mark.parametrize(("limit", "n_rows"), [(2, 2), (3, 3), (None, 3)])
def test_a_limit_cuts_and_says_so(store: Store, limit: int | None, n_rows: int) -> None:
    result = query_runs(store, "SELECT step FROM steps", limit=limit)

    assert result.arrow.num_rows == n_rows
    assert result.truncated is (n_rows < 3)


def test_a_limit_of_batches_is_exact(store: Store) -> None:
    result = query_runs(store, "SELECT range FROM range(50000)", limit=12_345)

    assert (result.arrow.num_rows, result.truncated) == (12_345, True)


def test_named_parameters_are_values(store: Store) -> None:
    result = query_runs(
        store, "SELECT step FROM steps WHERE run = $run", parameters={"run": "' OR 1 = 1 --"}
    )

    assert result.arrow.num_rows == 0


def test_only_the_given_runs_are_seen(store: Store) -> None:
    RunBuilder(store=store.path, run="other").losses([1.0] * 8).write()

    both = query_runs(store, "SELECT COUNT(*) AS n FROM steps").arrow
    other = query_runs(store, "SELECT COUNT(*) AS n FROM steps", runs=[store.select("other")]).arrow

    assert both.to_pylist() == [{"n": 11}]
    assert other.to_pylist() == [{"n": 8}]


def test_a_torn_shard_is_skipped_and_named(store: Store) -> None:
    folder = next(store.path.rglob("steps/rank=0"))
    torn = folder / str(new_shard_name(first=3, last=9, attempt=1))
    torn.write_bytes(b"PAR1")

    result = query_runs(store, "SELECT * FROM steps")

    assert result.arrow.num_rows == 3
    assert torn.name in result.warnings[0]


def test_broken_pages_are_skipped_and_named(store: Store) -> None:
    torn = next(store.path.rglob("steps/rank=0/*.parquet"))
    break_pages(torn)

    result = query_runs(store, "SELECT * FROM steps")

    assert result.arrow.num_rows == 0
    assert torn.name in result.warnings[0]


def test_shards_that_never_stay_end_in_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(_self: object, _connection: object, _schema: object, files: list[object]) -> None:
        path = files[0].path
        path.rename(path.with_name(str(new_shard_name(first=0, last=9, attempt=1))))
        raise OSError(2, "No such file")

    monkeypatch.setattr(Datasets, "bind", vanish)

    with pytest.raises(StoreUnreadable, match="try again"):
        query_runs(store, "SELECT * FROM steps")


def test_a_failure_that_no_shard_explains_is_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Datasets, "bind", fail)

    with pytest.raises(StoreUnreadable, match="Input/output error"):
        query_runs(store, "SELECT * FROM steps")


@pytest.mark.parametrize("folder", ["step=5", "it's [1] *?"])
def test_the_name_of_the_store_changes_nothing(tmp_path: Path, folder: str) -> None:
    RunBuilder(store=tmp_path / folder, project="null", run="NULL").losses([1.0, 2.0]).write()

    rows = query_runs(Store.open(tmp_path / folder), "SELECT * FROM steps ORDER BY step").arrow

    assert rows.column("step").to_pylist() == [0, 1]
    assert set(rows.column("run").to_pylist()) == {"NULL"}
    assert set(rows.column("project").to_pylist()) == {"null"}


def test_memory_is_a_quarter_of_a_small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sandbox.default_memory_bytes() <= sandbox.DEFAULT_MEMORY_BYTES

    monkeypatch.setattr(os, "sysconf", lambda name: 2**19 if name == "SC_PHYS_PAGES" else 4096)

    assert sandbox.default_memory_bytes() <= 2**29


def test_the_views_are_described_with_types_and_meaning(store: Store) -> None:
    columns = describe_views(store)

    assert [c.view for c in columns if c.column == "project"] == list(public_views())
    update_ratio = next(c for c in columns if c.column == "update_ratio")
    assert (update_ratio.view, update_ratio.type) == ("layers", "DOUBLE")
    assert "weight_norm" in update_ratio.doc
