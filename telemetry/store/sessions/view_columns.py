"""Columns of a table flow into the views: a new one of `schemas/*.toml` needs no edit of SQL.

A line of a view's SELECT list such as

    s.*,  -- columns of steps

stands for one line per column of the table, in their order, but for those that the list names
itself. `mergeable columns` are those that the schema says how to join over ranks, `merged columns`
are their joined values, and `columns of ... without blobs` leaves out what is not a number or text.
The text that DuckDB gets lists every column, so it stays portable.
"""

import re
from collections.abc import Iterator, Sequence

from telemetry.format.tables import Column, table

_MARK = re.compile(
    r"^(?P<indent> +)(?P<alias>\w+)\.\*(?P<comma>,?)  -- (?P<how>merged |mergeable |)columns of "
    r"(?P<table>\w+)(?P<without> without blobs|)$"
)
_NAMED = re.compile(r"\bAS (\w+)\b|^ *\w+\.(\w+),?(?:  --.*)?$", re.MULTILINE)
# Of parts with their weights, as `tensor_parts` gives them; n_sampled elements were read of each.
_MERGED = {
    "min": "MIN({cell})",
    "max": "MAX({cell})",
    "sum": "SUM({cell} * {alias}.weight)",
    "mean": "SUM({cell} * {alias}.weight * {alias}.n_sampled) "
    "/ SUM(CASE WHEN {cell} IS NOT NULL THEN {alias}.weight * {alias}.n_sampled END)",
}
_WHOLE = frozenset({"INTEGER", "BIGINT"})


def expanded(text: str) -> str:
    """The text of a view with the columns that its marks stand for."""
    lines = text.split("\n")
    return "\n".join(line for place, _ in enumerate(lines) for line in _expanded(lines, place))


def _expanded(lines: Sequence[str], place: int) -> Iterator[str]:
    mark = _MARK.match(lines[place])
    if mark is None:
        yield lines[place]
        return
    named = _names(lines, place, mark["indent"])
    columns = [c for c in table(mark["table"]).columns if c.name not in named]
    if mark["without"]:
        columns = [c for c in columns if c.type != "BLOB"]
    if mark["how"]:
        columns = [c for c in columns if c.merge in _MERGED and c.type != "BLOB"]
    for column in columns:
        is_last = column is columns[-1]
        comma = mark["comma"] if is_last else ","
        cell = f"{mark['alias']}.{column.name}"
        if mark["how"] == "merged ":
            cell = f"{_merged(column, mark['alias'])} AS {column.name}"
        yield f"{mark['indent']}{cell}{comma}"


def _names(lines: Sequence[str], place: int, indent: str) -> set[str]:
    """What the SELECT list around a line names itself."""
    outer = indent[4:]
    first = max(i for i in range(place) if lines[i] == f"{outer}SELECT")
    last = min(i for i in range(place, len(lines)) if lines[i].startswith(f"{outer}FROM "))
    found = _NAMED.findall("\n".join(lines[first:last]))
    return {name for pair in found for name in pair if name}


def _merged(column: Column, alias: str) -> str:
    cell = f"{alias}.{column.name}"
    if column.merge in {"sum", "mean"}:
        cell = f"CAST({cell} AS DOUBLE)"
    joined = _MERGED[column.merge].format(cell=cell, alias=alias)
    return f"CAST({f'ROUND({joined})' if column.type in _WHOLE else joined} AS {column.type})"
