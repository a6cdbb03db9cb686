"""The shipped SQL: portable, complete, and every column explained."""

import re
from collections.abc import Iterator

import pytest
import sqlglot
from sqlglot import expressions

from telemetry.format.tables import table
from telemetry.store.sessions import sql
from telemetry.store.sessions.binding import known_names, raw_tables
from telemetry.store.sessions.session import Session
from telemetry.store.user_sql.reference import column_doc, view_doc

ROW_VIEWS = {
    "tensor_rows": "tensor_stats",
    "module_rows": "module_stats",
    "steps": "steps",
    "metrics": "metrics",
    "events": "events",
    "findings": "findings",
    "tensors": "tensors",
    "modules": "modules",
    **{name: name for name in sql.shown_tables()},
}
NOT_PORTABLE = (expressions.Star, expressions.Struct, expressions.Array, expressions.Lambda)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session([]) as opened:
        yield opened


@pytest.mark.parametrize("name", sql.view_names())
def test_a_view_is_one_statement_that_spark_can_run(name: str) -> None:
    text = sql.view_text(name)

    statements = sqlglot.transpile(
        text, read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE
    )

    assert len(statements) == 1
    assert sqlglot.parse_one(statements[0], read="spark")


@pytest.mark.parametrize("name", sql.view_names())
def test_a_view_lists_its_columns_and_keeps_to_the_portable_subset(name: str) -> None:
    tree = sqlglot.parse_one(sql.view_text(name), read="duckdb")

    found = [node for node in tree.find_all(*NOT_PORTABLE) if not _is_count_star(node)]

    assert found == []


@pytest.mark.parametrize("name", sql.view_names())
def test_the_names_a_view_stands_on_are_those_of_its_syntax_tree(name: str) -> None:
    tree = sqlglot.parse_one(sql.view_text(name), read="duckdb")

    assert {node.name for node in tree.find_all(expressions.Table)} == set(
        sql.dependencies(sql.view_text(name))
    )


@pytest.mark.parametrize(("view", "table_name"), ROW_VIEWS.items())
def test_a_view_of_rows_shows_every_column_of_its_table(view: str, table_name: str) -> None:
    text = sql.view_text(view)

    shown = re.findall(r"^    \w+\.(\w+),?$", text, re.MULTILINE)

    expected = [column.name for column in table(table_name).columns]
    assert [name for name in shown if name in expected] == expected


@pytest.mark.parametrize("view", sql.public_views())
def test_every_column_of_a_public_view_is_explained(view: str, session: Session) -> None:
    columns = session.query(f"DESCRIBE {view}").texts("column_name")

    assert view_doc(view).endswith(".")
    assert [name for name in columns if not column_doc(view, name)] == []


@pytest.mark.parametrize("name", sorted(known_names()))
def test_every_name_works_on_a_store_without_any_row(name: str, session: Session) -> None:
    rows = session.query(f"SELECT COUNT(*) AS n FROM {name}")  # noqa: S608 - our own name

    assert rows.ints("n")[0] == (64 if name == "bins" else 0)


def test_the_tables_behind_a_view_are_found_through_other_views() -> None:
    assert raw_tables("layers") == {"tensor_stats", "tensors"}
    assert raw_tables("runs") == frozenset()


def _is_count_star(node: expressions.Expression) -> bool:
    return isinstance(node, expressions.Star) and isinstance(node.parent, expressions.Count)
