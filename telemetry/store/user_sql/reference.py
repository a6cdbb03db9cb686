"""The data dictionary: every table and view with its columns, types and meaning.

Tables come from `schemas/*.toml`; a view's first line and the comments behind its columns say what
they mean, and a column without a comment means what it means where it comes from.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from telemetry.format.tables import Column, Table, table, table_names
from telemetry.store.sessions import sql
from telemetry.store.sessions.manifest_tables import MANIFEST_TABLES, RUNS
from telemetry.store.sessions.session import Session
from telemetry.store.sessions.value_columns import value_columns
from telemetry.store.store import Store

PATH_DOCS = {
    "project": "Project, as its folder is called.",
    "run": "Run id.",
    "rank": "Rank that wrote the row.",
}
INTRODUCTION = """\
# Tables and views

Made from `schemas/*.toml` and `telemetry/store/views/*.sql` by `python -m tests.update_docs`.

`telemetry query` reads the views. The tables are the files in the folders of a run, one folder
each; there, `project`, `run` and `rank` are parts of the path, not columns of the files.
"""

_ALIAS = re.compile(r"\b(?:FROM|JOIN)\s+([a-z_]+)\s+AS\s+([a-z_]+)")
_COMMENT = re.compile(r"(\w+),?[ \t]+--[ \t]+(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewColumn:
    """One column of a view, with its type in DuckDB."""

    view: str
    column: str
    type: str
    doc: str


def describe_views(store: Store) -> list[ViewColumn]:
    """Columns of the public views, in the order of the views and of their columns."""
    with store.session([]) as session:
        found = _described(session)
    after = max(place for place, column in enumerate(found, start=1) if column.view == RUNS)
    return [*found[:after], *_values_of(store, found), *found[after:]]


def _values_of(store: Store, known: Sequence[ViewColumn]) -> list[ViewColumn]:
    """The metrics and settings of the runs of a store; none where there is no store yet."""
    if not store.path.is_dir():
        return []
    taken = [column.column for column in known if column.view == RUNS]
    return [
        ViewColumn(view=RUNS, column=column.name, type=column.type, doc=column.doc)
        for column in value_columns(store.with_metrics(store.runs()), taken)
    ]


def view_doc(name: str) -> str:
    """What one row of a view is."""
    if name in MANIFEST_TABLES:
        return MANIFEST_TABLES[name].doc
    return sql.view_text(name).split("\n", 1)[0].removeprefix("-- ")


def tables_markdown() -> str:
    """`docs/tables.md`: views first, for they are what one queries, then the tables behind."""
    with Session([]) as session:
        columns = _described(session)
    parts = [INTRODUCTION, "## Views\n"]
    for name in sql.public_views():
        rows = [(c.column, c.type, c.doc) for c in columns if c.view == name]
        parts.append(f"### {name}\n\n{view_doc(name)}\n")
        parts.append(_grid(("column", "type", "meaning"), rows))
    parts.append("## Tables\n")
    parts.extend(_table_section(table(name)) for name in table_names())
    return "\n".join(parts)


def column_doc(source: str, column: str) -> str:
    """What a column of a view, `raw_<table>` or manifest table means; '' when nothing says it."""
    if source in MANIFEST_TABLES:
        return _doc_in(MANIFEST_TABLES[source], column)
    if source.startswith(sql.RAW_PREFIX):
        found = _doc_in(table(source.removeprefix(sql.RAW_PREFIX)), column)
        return found or PATH_DOCS.get(column, "")
    if source not in sql.view_names():
        return ""  # a common table expression
    text = sql.view_text(source)
    comments: dict[str, str] = dict(_COMMENT.findall(text))
    if column in comments:
        return comments[column]
    for origin in _origins(text, column):
        if found := column_doc(origin, column):
            return found
    return ""


def _origins(text: str, column: str) -> list[str]:
    """Where a column may come from: the source whose alias stands before it, then any other."""
    by_alias = {alias: source for source, alias in _ALIAS.findall(text)}
    prefixes = re.findall(rf"\b(\w+)\.{re.escape(column)}\b", text)
    named = [by_alias[prefix] for prefix in prefixes[:1] if prefix in by_alias]
    return [*named, *sql.dependencies(text)]


def _doc_in(schema: Table, column: str) -> str:
    return next((_doc(c) for c in schema.columns if c.name == column), "")


def _doc(column: Column) -> str:
    is_said = column.unit != "JSON" or "JSON" in column.doc
    return column.doc if is_said else f"{column.doc} As JSON."


def _described(session: Session) -> list[ViewColumn]:
    found = []
    for view in sql.public_views():
        rows = session.query(f"DESCRIBE {view}").records()
        found += [
            ViewColumn(
                view=view,
                column=str(row["column_name"]),
                type=str(row["column_type"]),
                doc=column_doc(view, str(row["column_name"])),
            )
            for row in rows
        ]
    return found


def _table_section(schema: Table) -> str:
    rows = [
        (c.name, c.type, c.unit, "" if c.nullable else "required", c.merge, c.doc)
        for c in schema.columns
    ]
    head = ("column", "type", "unit", "", "merge of ranks", "meaning")
    sort = ", ".join(schema.sort)
    title = f"### {schema.name}\n\n{schema.doc} Version {schema.version}, sorted by {sort}.\n"
    return f"{title}\n{_grid(head, rows)}"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in [head, rule, *rows]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
