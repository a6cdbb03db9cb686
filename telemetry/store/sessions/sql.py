"""Texts of the views, and the one place where a value becomes part of a statement.

Each `views/<name>.sql` is one SELECT in the portable subset; the view has the file's name. A table
whose schema says what its `view` is needs no file: the view shows every row of it.
"""

import os
import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources

from telemetry.errors import UsageError
from telemetry.format.tables import PATH_COLUMNS, Table, table, table_names
from telemetry.store.sessions.view_columns import expanded

RAW_PREFIX = "raw_"
SHAPED_VIEWS = (
    "runs",
    "attempts",
    "files",
    "steps",
    "metrics",
    "tensors",
    "modules",
    "layers",
    "activations",
    "module_rows",
    "profiles",
    "tensor_points",
    "histograms",
    "quantiles",
    "events",
    "findings",
    "sketches",
)
# Tables whose newest row counts: raw_<table> also says which file a row came from, and its place.
ORDERED_TABLES = frozenset({"tensors", "modules", "findings"})
SHARD_COLUMNS = {"shard": "VARCHAR", "shard_row": "BIGINT"}

_REFERENCE = re.compile(r"\b(?:FROM|JOIN)\s+([a-z_]+)\b")
_WORD = re.compile(r"[A-Za-z_]\w*")
_LITERAL = re.compile(
    r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$", re.DOTALL
)
_GLOB = re.compile(r"[*?\[]")
_PARAMETER = re.compile(r"\$\w+")


def quoted(text: str) -> str:
    """A text as an SQL literal; every path that reaches a statement comes through here.

    Raises:
        UsageError: the text holds a NUL or is not valid Unicode, which no statement can say.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{text!r} is not valid Unicode; rename the folder.") from error
    if "\0" in text:
        raise UsageError(f"{text!r} contains a NUL character, which no path can.")
    return "'" + text.replace("'", "''") + "'"


def quoted_path(path: str) -> str:
    """A path as an SQL literal that names this file alone; DuckDB would expand `*`, `?`, `[`.

    Raises:
        UsageError: no literal can name it: where DuckDB expands, it takes a backslash for a slash.
    """
    if os.sep == "/" and "\\" in path and _GLOB.search(path):
        raise UsageError(
            f"{path!r} has a backslash and one of * ? [, a combination that DuckDB cannot read; "
            "rename the folder."
        )
    return quoted(_GLOB.sub(r"[\g<0>]", path))


def identifier(name: str) -> str:
    """A name of our own tables, columns or views, in double quotes."""
    return '"' + name.replace('"', '""') + '"'


@cache
def shown_tables() -> tuple[str, ...]:
    """The tables whose public view shows every row of them, sorted."""
    return tuple(name for name in table_names() if table(name).view)


@cache
def public_views() -> tuple[str, ...]:
    """Every view for users."""
    return (*SHAPED_VIEWS, *shown_tables())


@cache
def view_names() -> tuple[str, ...]:
    """Every view with a text, sorted."""
    files = resources.files("telemetry.store.views").iterdir()
    shaped = (f.name.removesuffix(".sql") for f in files if f.name.endswith(".sql"))
    return tuple(sorted([*shaped, *shown_tables()]))


@cache
def view_text(name: str) -> str:
    """The SELECT of a view, with every column that it shows.

    Raises:
        UsageError: there is no such view.
    """
    if name not in view_names():
        raise UsageError(f"view {name!r} is unknown; there are {', '.join(view_names())}.")
    if name in shown_tables():
        return _every_row(table(name))
    path = resources.files("telemetry.store.views").joinpath(f"{name}.sql")
    return expanded(path.read_text("utf-8"))


def _every_row(schema: Table) -> str:
    columns = ",\n".join(
        f"    t.{column}" for column in ("project", "run", *(c.name for c in schema.columns))
    )
    return "\n".join(
        [f"-- {schema.view}", "SELECT", columns, f"FROM {RAW_PREFIX}{schema.name} AS t", ""]
    )


@cache
def dependencies(text: str) -> tuple[str, ...]:
    """Names after FROM and JOIN in a view's text, in order, common table expressions included."""
    return tuple(dict.fromkeys(_REFERENCE.findall(_LITERAL.sub(" ", text))))


def mentioned(sql: str, known: Iterable[str]) -> set[str]:
    """Known names that occur as words outside literals and comments; never too few."""
    words = {word.lower() for word in _WORD.findall(_LITERAL.sub(" ", sql))}
    return words & set(known)


def first_word(sql: str) -> str:
    """The first word of a statement in capitals, or its opening bracket."""
    found = re.match(r"\s*(\(|\w+)", _LITERAL.sub(" ", sql))
    return found[1].upper() if found else ""


def without_parameters(sql: str) -> str:
    """The statement with literals emptied and `$name` replaced by NULL, for parsers of names."""
    return _PARAMETER.sub("NULL", _LITERAL.sub(_empty_literal, sql))


def _empty_literal(match: re.Match[str]) -> str:
    return "''" if match.group().startswith(("'", "$")) else " "


def column_list(table: Table, *, version: int) -> str:
    """The table's columns as a file of that version has them; newer ones are NULL.

    Each has the type of its table, or the statement fails: of several files DuckDB believes the
    first, and would go on with texts where that one has texts. Columns that have it cost nothing.
    """
    sources = (
        identifier(column.name) if column.since <= version else "NULL" for column in table.columns
    )
    return ", ".join(
        f"CAST({source} AS {column.type}) AS {identifier(column.name)}"
        for source, column in zip(sources, table.columns, strict=True)
    )


def scan_by_hive(table: Table, paths: Sequence[str], *, version: int) -> str:
    """A SELECT over files of one version whose folders say project, run and rank."""
    types = ", ".join(f"{quoted(name)}: {kind}" for name, kind in PATH_COLUMNS.items())
    columns = f"project, run, rank, {_scanned(table, version=version)}"
    options = f"hive_partitioning = true, hive_types = {{{types}}}"
    return f"SELECT {columns} FROM {_read_parquet(table, paths)}, {options})"  # noqa: S608 - quoted


def scan_by_value(
    table: Table, paths: Sequence[str], *, version: int, project: str, run: str, rank: int
) -> str:
    """The same for files of one run and rank, given as values; no folder name is looked at."""
    keys = f"{quoted(project)} AS project, {quoted(run)} AS run, CAST({rank:d} AS INTEGER) AS rank"
    columns = f"{keys}, {_scanned(table, version=version)}"
    read = _read_parquet(table, paths)
    return f"SELECT {columns} FROM {read}, hive_partitioning = false)"  # noqa: S608 - quoted


def _scanned(table: Table, *, version: int) -> str:
    columns = column_list(table, version=version)
    if table.name in ORDERED_TABLES:
        columns += ", parse_filename(filename) AS shard, file_row_number AS shard_row"
    return columns


def _read_parquet(table: Table, paths: Sequence[str]) -> str:
    files = ", ".join(quoted_path(path) for path in paths)
    extra = ", filename = true, file_row_number = true" if table.name in ORDERED_TABLES else ""
    return f"read_parquet([{files}]{extra}"
