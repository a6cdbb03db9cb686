"""Metadata of examples as typed columns: numbers, truth values, texts."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

PREFIX = "m_"
MAX_COLUMNS = 64  # the keys that most examples have; of equal ones the first
TRUTH = {"true": True, "false": False}


def metadata_columns(cells: Sequence[str | None]) -> dict[str, pa.Array]:
    """One column `m_<key>` for each of the most used keys, typed by what it holds, by name.

    Args:
        cells: JSON object of each example, maybe absent, shape (n,).
    """
    rows: list[Mapping[str, object]] = [json.loads(cell) if cell else {} for cell in cells]
    used = Counter(
        key for row in rows for key, value in row.items() if value is not None and value != ""
    )
    keys = sorted(used, key=lambda key: -used[key])[:MAX_COLUMNS]
    columns: dict[str, pa.Array] = {}
    taken: set[str] = set()
    for key in sorted(keys):
        if key.lower() not in taken:  # SQL does not tell `Time` from `time`
            taken.add(key.lower())
            columns[f"{PREFIX}{key}"] = _typed([_text(row.get(key)) for row in rows])
    return columns


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _typed(values: Sequence[str | None]) -> pa.Array:
    """Truth values if all are, else numbers if all are, else texts."""
    known = {value for value in values if value is not None}
    if known <= TRUTH.keys():
        return pa.array([None if v is None else TRUTH[v] for v in values], pa.bool_())
    numbers = {value: _number(value) for value in known}
    if None not in numbers.values():
        return pa.array([None if v is None else numbers[v] for v in values], pa.float64())
    return pa.array(values, pa.string())


def _number(text: str) -> float | None:
    if "_" in text:  # Python reads 1_000 as a number, a data set means a name
        return None
    try:
        return float(text)
    except ValueError:
        return None
