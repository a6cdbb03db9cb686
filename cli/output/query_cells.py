"""Cells of a query as texts, JSON and those of a table on the screen."""

import base64
import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.errors import UsageError
from telemetry.json_values import Json

if TYPE_CHECKING:
    from telemetry.store.sessions.rows import SqlValue
    from telemetry.store.user_sql.query import QueryResult

EXACT_IN_DOUBLE = 2**53  # JSON readers keep integers as doubles
UNSIGNED = 2**64 - 1
LEAST_WIDTH = 20
UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30}
NUMERIC = re.compile(r"(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT|U\w+INT|FLOAT|DOUBLE|DECIMAL)")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of `4GB`, `512MiB`, `1.5 g`.

    Raises:
        UsageError: not a size.
    """
    match = _SIZE.fullmatch(text)
    if match is None or float(match[1]) == 0:
        raise UsageError(f"--memory {text!r} is not a size; write 4GB or 512MiB.")
    return int(float(match[1]) * UNITS.get((match[2] or "").upper(), 1))


def json_value(value: "SqlValue") -> Json:
    """A cell in JSON: blobs in base64, times in ISO-8601, integers beyond 2^53 as hexadecimal."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= EXACT_IN_DOUBLE else f"{value & UNSIGNED:#018x}"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, float | str) else str(value)


def exact_text(value: "SqlValue") -> str:
    """A cell with all its digits; NULL is ''."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(json_text(value))


def json_text(value: "SqlValue") -> Json:
    """Blobs in base64, times in ISO-8601, everything else as it is."""
    return value if isinstance(value, int) else json_value(value)


def grid(result: "QueryResult") -> Grid:
    """The rows as a table: 4 digits for people, all of them for programs."""
    columns = tuple(
        Column(
            header=name,
            align=Align.RIGHT if NUMERIC.match(kind) else Align.LEFT,
            shrinks=not NUMERIC.match(kind),
            least=LEAST_WIDTH,
            rank=place,  # the last ones give way
        )
        for place, (name, kind) in enumerate(result.columns)
    )
    return Grid(columns=columns, rows=tuple(tuple(map(cell, row)) for row in result.rows()))


def cell(value: "SqlValue") -> Cell:
    """One cell; NULL is told from an empty text by its style and is empty in a pipe."""
    exact = exact_text(value)
    if value is None:
        return Span("NULL", Style.FAINT, piped="")
    if isinstance(value, float) and not isinstance(value, bool):
        whole = math.isfinite(value) and value == int(value) and abs(value) < numbers.FIXED_BELOW
        return Span(f"{value:.1f}" if whole else numbers.number(value), piped=exact)
    return exact
