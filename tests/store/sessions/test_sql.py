"""Values in statements: paths only through one function, whatever they hold."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telemetry.errors import UsageError
from telemetry.format.tables import parse_table
from telemetry.store.sessions import sql

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
FOLDER = st.text(
    st.one_of(st.sampled_from("'\"*?[]{}()$%;-=\\ \n\t"), st.characters(exclude_categories=["Cs"])),
    min_size=1,
    max_size=20,
).filter(lambda name: "/" not in name and "\0" not in name and name not in {".", ".."})


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        yield opened


@settings(deadline=None)
@given(text=TEXT)
def test_a_quoted_text_is_the_text_and_nothing_more(
    text: str, connection: duckdb.DuckDBPyConnection
) -> None:
    assert connection.execute(f"SELECT {sql.quoted(text)}").fetchall() == [(text,)]


@settings(deadline=None, max_examples=60)
@given(name=FOLDER)
@example(name="*\\")
def test_a_quoted_path_reads_this_file_alone(
    name: str, connection: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("paths")
    folder = root / name
    try:
        folder.mkdir()
    except OSError:
        return  # more bytes than a folder name may have
    for place, value in ((root / "xx", 1), (folder, 2)):
        place.mkdir(exist_ok=True)
        pq.write_table(pa.table({"a": [value]}), place / "f.parquet")
    if "\\" in name and set("*?[") & set(name):
        with pytest.raises(UsageError, match="rename the folder"):
            sql.quoted_path(str(folder / "f.parquet"))
        return
    path = sql.quoted_path(str(folder / "f.parquet"))

    rows = connection.execute(f"SELECT a FROM read_parquet([{path}])").fetchall()  # noqa: S608

    assert rows == [(2,)]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_statement_can_say_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        sql.quoted(text)


def test_an_unknown_view_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="tensor_points"):
        sql.view_text("nothing")


def test_columns_younger_than_a_file_are_null() -> None:
    schema = parse_table(
        """
        table = "t"
        version = 2
        doc = "d"
        sort = []
        [[column]]
        name = "a"
        type = "BIGINT"
        doc = "d"
        [[column]]
        name = "b"
        type = "DOUBLE"
        doc = "d"
        since = 2
        """
    )

    known = 'CAST("a" AS BIGINT) AS "a", '
    assert sql.column_list(schema, version=1) == known + 'CAST(NULL AS DOUBLE) AS "b"'
    assert sql.column_list(schema, version=2) == known + 'CAST("b" AS DOUBLE) AS "b"'


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT * FROM Layers", {"layers"}),
        ("SELECT 'layers' FROM runs -- steps\n/* events */", {"runs"}),
        ("SELECT $$layers$$, it FROM metrics", {"metrics"}),
    ],
)
def test_names_are_found_outside_literals_and_comments(statement: str, expected: set[str]) -> None:
    assert sql.mentioned(statement, sql.public_views()) == expected


def test_parameters_become_null_but_not_inside_literals() -> None:
    statement = "SELECT '$a it''s', $b FROM runs -- $c"

    assert sql.without_parameters(statement).rstrip() == "SELECT '', NULL FROM runs"


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("  select 1", "SELECT"),
        ("-- why\n(FROM runs)", "("),
        ("/* x */PRAGMA y", "PRAGMA"),
        ("", ""),
    ],
)
def test_the_first_word_is_found_behind_comments(statement: str, word: str) -> None:
    assert sql.first_word(statement) == word
