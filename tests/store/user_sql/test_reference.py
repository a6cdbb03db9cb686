"""The data dictionary."""

from telemetry.format.tables import table, table_names
from telemetry.store.sessions.sql import public_views
from telemetry.store.user_sql.reference import column_doc, tables_markdown


def test_every_table_column_and_view_is_in_the_dictionary() -> None:
    page = tables_markdown()

    for name in {*table_names(), *public_views()}:
        assert f"\n### {name}\n" in page
    for name in table_names():
        for column in table(name).columns:
            assert f"| {column.name} | {column.type} |" in page


def test_text_that_markdown_would_take_for_tags_is_escaped() -> None:
    assert "<op>" not in tables_markdown()
    assert "&lt;op>#&lt;k>" in tables_markdown()


def test_a_column_means_what_it_means_where_it_comes_from() -> None:
    assert column_doc("layers", "depth") == column_doc("tensors", "depth")
    assert column_doc("layers", "n") == "Global elements."
    assert column_doc("steps", "rank") == "Rank that wrote the row."
    assert column_doc("runs", "config").endswith("As JSON.")
    assert column_doc("layers", "nothing") == ""
