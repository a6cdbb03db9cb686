"""Sessions: what a statement of the product may rely on."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from synthetic import RunBuilder
from two_shards import STEPS, read, run_with_two_shards, shards

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.tables import table
from telemetry.store.sessions import session
from telemetry.store.sessions.session import Session
from telemetry.store.store import Store


def test_parameters_that_a_statement_does_not_mention_are_left_out(tmp_path: Path) -> None:
    run_with_two_shards(tmp_path)
    opened = Store.open(tmp_path)

    with opened.session(opened.runs()) as found:
        rows = found.query("SELECT step FROM steps WHERE step > $low", {"low": 7, "other": "x"})

    assert sorted(rows.ints("step")) == [8, 9]


@pytest.mark.parametrize(
    "sql", ["SELEC 1", "SELECT nope FROM steps", "SELECT 1; SELECT 2", "DROP TABLE runs", ""]
)
def test_a_wrong_statement_is_a_usage_error_that_reads_no_shard(tmp_path: Path, sql: str) -> None:
    run_with_two_shards(tmp_path)
    opened = Store.open(tmp_path)

    with opened.session(opened.runs()) as found, pytest.raises(UsageError):
        found.query(sql)


def test_sums_of_integers_are_integers(tmp_path: Path) -> None:
    run_with_two_shards(tmp_path)

    rows, _ = read(
        tmp_path,
        "SELECT SUM(step) AS a, CAST(1.5 AS DECIMAL(4, 1)) AS b, "
        "CAST('9999999999999999999999' AS HUGEINT) AS c FROM steps",
    )

    assert rows.records() == [{"a": 45, "b": 1.5, "c": pytest.approx(1e22)}]


def test_large_tables_stay_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with_two_shards(tmp_path)
    monkeypatch.setattr(session, "COMPUTED_ONCE_ROWS", 9)
    opened = Store.open(tmp_path)

    with opened.session(opened.runs()) as found:
        assert len(found.query(STEPS)) == 10
        kinds = found.query(
            "SELECT table_type FROM information_schema.tables WHERE table_name = 'steps'"
        )

    assert kinds.texts("table_type") == ["VIEW"]


@pytest.mark.parametrize("name", ["tensor_points", "module_numbers"])
def test_what_many_statements_read_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    builder = RunBuilder(store=tmp_path).losses([1.0] * 2)
    builder.norm("a.weight", "weight", 0, 1.0, n=4).activation("a", "output", 0)
    path = builder.write()
    opened = Store.open(tmp_path)
    count = f"SELECT COUNT(*) AS n_rows FROM {name}"  # noqa: S608 - ours

    with opened.session(opened.runs(), many_statements=True) as found:
        assert found.query(count).ints("n_rows").tolist() == [1]
        for table_name in ("tensor_stats", "module_stats"):
            shutil.rmtree(path / table_name)
        assert found.query(count).ints("n_rows").tolist() == [1]

    builder.write()
    monkeypatch.setattr(session, "COMPUTED_ONCE_ROWS", 0)
    kind = f"SELECT table_type FROM information_schema.tables WHERE table_name = '{name}'"  # noqa: S608
    for many in (False, True):
        with opened.session(opened.runs(), many_statements=many) as found:
            found.query(count)
            assert found.query(kind).texts("table_type") == ["VIEW"]


def test_only_what_a_statement_mentions_is_bound(tmp_path: Path) -> None:
    run_with_two_shards(tmp_path)
    opened = Store.open(tmp_path)

    with opened.session(opened.runs()) as found:
        found.query("SELECT 'layers' AS a, steps FROM runs")
        names = found.query("SELECT table_name FROM information_schema.tables")

    assert names.texts("table_name") == ["runs"]


def test_batches_stream_the_rows(tmp_path: Path) -> None:
    path = run_with_two_shards(tmp_path)
    opened = Store.open(tmp_path)

    with opened.session(opened.runs()) as found:
        batches = list(found.batches("SELECT step FROM steps"))
        shards(path)[0].unlink()
        with pytest.raises(StoreUnreadable):
            list(found.batches("SELECT step FROM raw_steps"))

    assert sum(batch.num_rows for batch in batches) == 10


def test_a_session_of_many_versions_reads_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_with_two_shards(tmp_path)
    now = table("steps")
    extended = type(now)(
        name=now.name,
        version=now.version + 1,
        doc=now.doc,
        sort=now.sort,
        columns=(*now.columns, _younger(now.columns[-2], since=now.version + 1)),
    )
    monkeypatch.setattr("telemetry.store.sessions.binding.table", lambda _name: extended)
    monkeypatch.setattr("telemetry.store.runs.listing.table", lambda _name: extended)

    with Session(Store.open(tmp_path).runs()) as found:
        rows = found.query("SELECT step, younger FROM raw_steps ORDER BY step").records()

    assert rows[-1] == {"step": 9, "younger": None}


def _younger(column: object, *, since: int) -> object:
    fields = {name: getattr(column, name) for name in column.__dataclass_fields__}
    return type(column)(**{**fields, "name": "younger", "since": since})


@pytest.mark.parametrize("what", ["missing", "file", "empty"])
def test_a_store_that_is_none_says_how_to_record_a_first_run(tmp_path: Path, what: str) -> None:
    path = tmp_path / "store"
    if what == "file":
        path.write_text("x")
    if what == "empty":
        path.mkdir()

    with pytest.raises(StoreUnreadable, match="TelemetryCallback") as caught:
        Store.open(path)

    assert str(path) in str(caught.value)


def test_a_store_without_permission_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(StoreUnreadable, match="permissions"):
        Store.open(tmp_path)


def test_runs_that_need_too_much_memory_are_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunBuilder(store=tmp_path).losses([1.0]).write()
    monkeypatch.setattr(session, "shared_memory_bytes", lambda: 16 * 2**20)

    with (
        Session(Store.open(tmp_path).runs()) as opened,
        pytest.raises(UsageError, match=r"more than 16 MiB of memory.*name fewer runs"),
    ):
        opened.query("SELECT ARRAY_AGG(range) AS every FROM range(10000000)")


def test_what_does_not_fit_is_spilled_outside_the_working_folder_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunBuilder(store=tmp_path / "store").losses([1.0]).write()
    (tmp_path / "spill").mkdir()
    (tmp_path / "working").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spill"))
    monkeypatch.setattr(session, "shared_memory_bytes", lambda: 24 * 2**20)
    monkeypatch.chdir(tmp_path / "working")

    with Session(Store.open(tmp_path / "store").runs()) as opened:
        many = "SELECT range, HASH(range) AS h FROM range(1500000) ORDER BY h"
        first = next(opened.batches(many))
        spilled = list((tmp_path / "spill").iterdir())

    assert first.num_rows > 0
    assert len(spilled) == 1
    assert list((tmp_path / "spill").iterdir()) == []
    assert list((tmp_path / "working").iterdir()) == []
