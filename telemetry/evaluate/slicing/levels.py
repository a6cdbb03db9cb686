"""Columns of examples as a few levels each, by which slices are made."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Codes = npt.NDArray[np.int64]

MAX_LEVELS = 20  # values kept apart; of more, the 19 most frequent and "other"
N_BINS = 5  # equal shares of a continuous column
MISSING = "missing"
OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """One level of a column: how it is called, and the condition that says it."""

    label: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Levels:
    """A column as levels.

    Attributes:
        name: Of the column.
        codes: Place of each example's level, shape (n,).
        levels: The levels, in the order of the codes.
        distinct_share: Distinct texts over examples; 0 for numbers, which are binned.
    """

    name: str
    codes: Codes
    levels: tuple[Level, ...]
    distinct_share: float = 0.0


def column_levels(name: str, column: pa.ChunkedArray) -> Levels:
    """The levels of a column; no value is a level of its own."""
    if pa.types.is_floating(column.type):
        values = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
        finite = np.unique(values[np.isfinite(values)])
        numbers = [None if math.isnan(value) else float(value) for value in values]
        if finite.size > MAX_LEVELS:
            return _binned(name, values)
        return _by_value(name, numbers)
    if pa.types.is_boolean(column.type):
        return _by_value(name, column.to_pylist())
    texts = column.cast(pa.string()).to_pylist()
    share = len({text for text in texts if text is not None}) / max(len(texts), 1)
    return _by_value(name, texts, distinct_share=share)


def quoted_name(name: str) -> str:
    """A column in a condition: bare where SQL allows it."""
    plain = name.isascii() and name.isidentifier() and name == name.lower()
    return name if plain else '"' + name.replace('"', '""') + '"'


def _by_value(
    name: str, values: Sequence[bool | float | str | None], *, distinct_share: float = 0.0
) -> Levels:
    frequency = Counter(value for value in values if value is not None)
    known = sorted(frequency, key=lambda value: (-frequency[value], str(value)))
    kept = known if len(known) <= MAX_LEVELS else known[: MAX_LEVELS - 1]
    kept = sorted(kept, key=lambda value: (0.0, value) if isinstance(value, str) else (value, ""))
    place = {value: i for i, value in enumerate(kept)}
    column = quoted_name(name)
    levels = [Level(label=_label(v), where=f"{column} = {_literal(v)}") for v in kept]
    if len(kept) < len(known):
        listed = ", ".join(_literal(value) for value in kept)
        place.update(dict.fromkeys(known[len(kept) :], len(levels)))
        levels.append(Level(label=OTHER, where=f"{column} NOT IN ({listed})"))
    missing = len(levels)
    if None in values:
        levels.append(Level(label=MISSING, where=f"{column} IS NULL"))
    codes = np.array([missing if v is None else place[v] for v in values], dtype=np.int64)
    return Levels(name=name, codes=codes, levels=tuple(levels), distinct_share=distinct_share)


def _binned(name: str, values: npt.NDArray[np.float64]) -> Levels:
    """Five bins of about equal numbers; infinite values belong to the outermost."""
    finite = values[np.isfinite(values)]
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, N_BINS + 1)[1:-1]))
    codes = np.searchsorted(edges, values, side="right")
    column = quoted_name(name)
    levels = []
    for place in range(len(edges) + 1):
        low = f"{column} >= {float(edges[place - 1])!r}" if place else ""
        high = f"{column} < {float(edges[place])!r}" if place < len(edges) else ""
        where = " AND ".join(part for part in (low, high) if part)
        levels.append(Level(label=_range(edges, place), where=where))
    absent = np.isnan(values)
    if absent.any():
        codes = np.where(absent, len(levels), codes)
        levels.append(Level(label=MISSING, where=f"({column} IS NULL OR isnan({column}))"))
    return Levels(name=name, codes=codes.astype(np.int64), levels=tuple(levels))


def _range(edges: npt.NDArray[np.float64], place: int) -> str:
    if place == 0:
        return f"< {edges[0]:.4g}"
    if place == len(edges):
        return f">= {edges[-1]:.4g}"
    return f"{edges[place - 1]:.4g} .. {edges[place]:.4g}"


def _label(value: bool | float | str) -> str:  # noqa: FBT001 - a value of a column
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else f"{value:.6g}"


def _literal(value: bool | float | str) -> str:  # noqa: FBT001 - a value of a column
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if not math.isfinite(value):
        return f"CAST('{value}' AS DOUBLE)"
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else repr(value)  # noqa: PLR2004 - whole numbers of a double
