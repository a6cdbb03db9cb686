"""Strict JSON: one alias for its values, one encoding for numbers that JSON lacks."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


def strict(value: Json) -> Json:
    """The value with NaN and infinities written as the strings `nan`, `inf`, `-inf`."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str) or value is None or isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    return [strict(item) for item in value]


def dumps(value: Json, *, indent: int | None = None) -> str:
    """Strict JSON text, keys in the given order, non-ASCII characters kept."""
    return json.dumps(strict(value), indent=indent, ensure_ascii=False, allow_nan=False)
