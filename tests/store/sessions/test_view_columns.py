"""Columns of a table flow into the views, in the order of the table."""

import pytest

from telemetry.format.tables import table
from telemetry.store.sessions import sql
from telemetry.store.sessions.view_columns import expanded

METRICS = [column.name for column in table("metrics").columns]


def select(line: str, *others: str) -> str:
    items = ",\n    ".join(others)
    return f"SELECT\n    s.run,\n{line}\n{'    ' + items if others else ''}\nFROM raw_metrics AS s"


def test_a_mark_stands_for_every_column_of_the_table_in_order() -> None:
    lines = expanded(select("    s.*  -- columns of metrics")).split("\n")
    shown = [f"    s.{name}," for name in METRICS]
    assert lines[2 : 2 + len(METRICS)] == [*shown[:-1], shown[-1].rstrip(",")]


def test_what_the_list_names_itself_is_not_shown_twice() -> None:
    text = expanded(select("    s.*,  -- columns of metrics", "s.step", "2 * s.value AS value"))
    assert "    s.value," not in text
    assert text.count("s.step") == 1
    assert "    s.phase," in text


def test_names_of_another_select_do_not_count() -> None:
    text = expanded(
        "SELECT\n    t.*  -- columns of metrics\nFROM (\n    SELECT\n        1 AS value\n"
        "    FROM raw_metrics AS s\n) AS t"
    )
    assert "    t.value," in text


def test_without_blobs_leaves_out_what_is_neither_number_nor_text() -> None:
    shown = expanded("SELECT\n    r.*  -- columns of module_stats without blobs\nFROM m AS r")
    assert "r.hist_exp" in shown
    assert "r.hist," not in shown
    assert "r.profile" not in shown.replace("r.n_profile", "")


@pytest.mark.parametrize(
    ("column", "joined"),
    [
        ("absmax", "CAST(MAX(r.absmax) AS REAL)"),
        ("sum", "CAST(SUM(CAST(r.sum AS DOUBLE) * r.weight) AS REAL)"),
        ("n_stuck", "CAST(ROUND(SUM(CAST(r.n_stuck AS DOUBLE) * r.weight)) AS BIGINT)"),
    ],
)
def test_merged_columns_are_joined_over_ranks_as_the_schema_says(column: str, joined: str) -> None:
    text = expanded("SELECT\n    r.*  -- merged columns of tensor_stats\nFROM parts AS r")
    assert f"    {joined} AS {column}," in text.split("\n")


def test_what_the_schema_does_not_say_how_to_join_is_not_merged() -> None:
    text = expanded("SELECT\n    r.*  -- mergeable columns of tensor_stats\nFROM parts AS r")
    assert not {"    r.kind,", "    r.hist,", "    r.previous_norm,"} & set(text.split("\n"))


@pytest.mark.parametrize("name", sql.view_names())
def test_no_mark_is_left_in_a_view(name: str) -> None:
    assert ".*" not in sql.view_text(name)
