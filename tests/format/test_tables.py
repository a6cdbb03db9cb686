from collections.abc import Callable

import pyarrow as pa
import pytest

from telemetry.errors import UsageError
from telemetry.format.tables import ARROW_TYPES, PATH_COLUMNS, parse_table, table, table_names


def described(name: str) -> str:
    schema = table(name)
    lines = [f"{name} v{schema.version}, sorted by {', '.join(schema.sort)}"]
    for column in schema.columns:
        null = "" if column.nullable else " NOT NULL"
        unit = f" [{column.unit}]" if column.unit else ""
        lines.append(
            f"  {column.name} {column.type}{null}{unit} "
            f"encoding={column.encoding} merge={column.merge} since={column.since}"
        )
    return "\n".join(lines)


def test_the_columns_of_every_table_are_what_readers_were_promised(
    golden: Callable[[str, str], None],
) -> None:
    golden("tables.txt", "\n\n".join(described(name) for name in table_names()) + "\n")


@pytest.mark.parametrize("name", table_names())
def test_a_table_is_fit_for_every_reader(name: str) -> None:
    schema = table(name)
    names = [column.name for column in schema.columns]
    assert schema.name == name
    assert schema.doc
    assert len(set(names)) == len(names)
    assert set(schema.sort) <= set(names)
    # What is judged later belongs to the run as a whole and says when it was written.
    assert {"attempt", "written_at"} & set(names) or name == "findings"
    assert not set(names) & set(PATH_COLUMNS)  # DuckDB would silently prefer the path
    for column in schema.columns:
        assert column.type in ARROW_TYPES
        assert column.doc
        assert column.since <= schema.version


@pytest.mark.parametrize("name", table_names())
def test_arrow_schema_prototype_and_encodings_agree(name: str) -> None:
    schema = table(name)
    arrow = schema.arrow_schema()
    assert arrow.names == [column.name for column in schema.columns]
    assert [f.nullable for f in arrow] == [column.nullable for column in schema.columns]
    for column in schema.columns:
        assert f'"{column.name}" {column.type}' in schema.ddl()
    for path_column, kind in PATH_COLUMNS.items():
        assert f'"{path_column}" {kind}' in schema.ddl()
    encoded = {*schema.column_encodings(), *schema.dictionary_columns()}
    assert encoded == set(arrow.names)
    assert not set(schema.column_encodings()) & set(schema.dictionary_columns())


def test_an_unknown_table_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"known tables are .*tensor_stats"):
        table("gradients")


def test_a_column_that_says_little_gets_defaults() -> None:
    schema = parse_table(
        'table = "t"\nversion = 1\ndoc = "d"\nsort = ["step"]\n'
        '[[column]]\nname = "step"\ntype = "BIGINT"\ndoc = "s"\n'
        '[[column]]\nname = "value"\ntype = "REAL"\ndoc = "v"\n'
        '[[column]]\nname = "name"\ntype = "VARCHAR"\ndoc = "n"\n'
        '[[column]]\nname = "blob"\ntype = "BLOB"\ndoc = "b"\n'
    )
    assert [column.encoding for column in schema.columns] == [
        "delta",
        "split",
        "dictionary",
        "plain",
    ]
    assert schema.columns[0].nullable
    assert schema.columns[0].merge == "key"
    assert schema.columns[1].arrow_type == pa.float32()
