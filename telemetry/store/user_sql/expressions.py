"""Conditions that a user typed over rows in memory: one boolean expression, and nothing else."""

import json
from collections.abc import Iterator, Mapping

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telemetry.configuration import nearest
from telemetry.errors import UsageError
from telemetry.json_values import Json
from telemetry.store.sessions.statements import first_line
from telemetry.store.user_sql.sandbox import default_memory_bytes, locked_connection

# Of the syntax tree that DuckDB gives; sub-queries, windows, parameters and stars are not here.
NODES = """
    BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION OPERATOR TYPE
"""
FUNCTIONS = """
    + - * / // % || ~~ !~~ ~~* !~~* abs ceil contains ends_with even exp floor greatest isfinite
    isinf isnan least left length like_escape ln log log10 lower ltrim not_like_escape prefix
    regexp_full_match regexp_matches replace right round rtrim sign sqrt starts_with strpos
    substr substring suffix trim trunc upper
"""
ALLOWED_NODES = frozenset(NODES.split())
ALLOWED_FUNCTIONS = frozenset(FUNCTIONS.split())


def matching(rows: pa.Table, expression: str) -> npt.NDArray[np.bool_]:
    """Which rows fulfil a condition; unknown counts as no.

    Args:
        rows: What the condition may name, shape (n,).
        expression: As after WHERE, such as `m_time = 'night' AND confidence > 0.9`.

    Raises:
        UsageError: it is no single condition over these columns, or reaches for something else.
    """
    with locked_connection(default_memory_bytes()) as connection:
        _check(connection, rows, expression)
        try:
            relation = connection.from_arrow(rows).select(duckdb.SQLExpression(expression))
            if str(relation.types[0]) != "BOOLEAN":
                raise UsageError(
                    f"{expression!r} gives {relation.types[0]}, expected a condition such as "
                    "m_time = 'night'."
                )
            found = relation.to_arrow_table().column(0)
        except duckdb.Error as error:
            raise _refused(expression, first_line(error)) from error
    return np.asarray(found.fill_null(False).to_numpy(), dtype=np.bool_)  # noqa: FBT003 - pyarrow


def _check(connection: duckdb.DuckDBPyConnection, rows: pa.Table, expression: str) -> None:
    known = {name.lower() for name in rows.column_names}
    for node in _nodes(_tree(connection, expression)):
        kind, function = node["class"], node.get("function_name")
        if kind not in ALLOWED_NODES:
            raise _refused(expression, f"{str(kind).lower()} is not allowed here.")
        if kind == "FUNCTION" and function not in ALLOWED_FUNCTIONS:
            raise _refused(expression, f"the function {function} is not allowed here.")
        names = node.get("column_names")
        if isinstance(names, list) and ".".join(map(str, names)).lower() not in known:
            name = ".".join(map(str, names))
            raise _refused(
                expression, f"there is no column {name}; {nearest(name, rows.column_names)}"
            )


def _tree(connection: duckdb.DuckDBPyConnection, expression: str) -> Json:
    """What DuckDB understands: the syntax tree of a condition.

    Raises:
        UsageError: it is not one expression.
    """
    try:
        duckdb.SQLExpression(expression)  # one expression, not a list and not a statement
        statement = f"SELECT (\n{expression}\n)"
        text = connection.execute("SELECT json_serialize_sql($1)", [statement]).fetchall()[0][0]
    except duckdb.Error as error:
        raise _refused(expression, first_line(error)) from error
    found: Mapping[str, Json] = json.loads(text)
    if found.get("error"):
        raise _refused(expression, str(found.get("error_message")))
    return found.get("statements")


def _nodes(tree: Json) -> Iterator[Mapping[str, Json]]:
    """Every expression in a syntax tree."""
    if isinstance(tree, Mapping):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _refused(expression: str, reason: str) -> UsageError:
    return UsageError(f"the condition {expression!r} cannot be used: {reason}")
