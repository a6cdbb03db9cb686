"""Strict JSON: one alias for its values, one encoding for numbers that JSON lacks, one way to read.

Documents come from disks that others write too: whoever reads a value out of one asks for its type
here and takes None for "unknown".
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

LARGEST_INTEGER = 2**64 - 1  # of either sign
NOT_FINITE = frozenset({"nan", "inf", "-inf"})  # as `strict` writes them
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * len(str(LARGEST_INTEGER))


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
    """Strict JSON text, keys in the given order, non-ASCII characters kept.

    A lone surrogate, as of a command line of undecodable bytes, becomes the escape of itself: no
    file and no Arrow text can hold it.
    """
    text = json.dumps(strict(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def loads(text: str | bytes) -> Json:
    """The value of a JSON text; integers of more than 64 bits are floats.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        found: Json = json.loads(text, parse_int=_bounded if _may_be_long(text) else None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return found


def parsed_object(text: str | bytes | None) -> dict[str, Json]:
    """The object of a JSON text; empty where it is none."""
    try:
        found = loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def parsed_list(text: str | bytes | None) -> Sequence[Json]:
    """The list of a JSON text; empty where it is none."""
    try:
        return json_list(loads(text or "[]"))
    except ValueError:
        return ()


def json_object(value: Json) -> Mapping[str, Json]:
    """The value if it is an object, else an empty one."""
    # Asking for the class itself is five times as quick, and what was read of JSON has that one.
    return value if type(value) is dict or isinstance(value, Mapping) else {}


def json_objects(value: Json) -> list[Mapping[str, Json]]:
    """The objects in a list; none if it is no list."""
    return [entry for entry in json_list(value) if isinstance(entry, Mapping)]


def json_list(value: Json) -> Sequence[Json]:
    """The value if it is a list, else an empty one."""
    if type(value) is list:
        return value
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def json_text(value: Json) -> str | None:
    """The value if it is a text."""
    return value if isinstance(value, str) else None


def json_number(value: Json) -> float | None:
    """The value if it is a number; truth values are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def json_integer(value: Json, *, least: int = -LARGEST_INTEGER, bits: int = 64) -> int | None:
    """The value if it is an integer of a column; truth values are none.

    Args:
        value: Of a document.
        least: Smaller ones are none.
        bits: Of a signed integer that must hold it.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    limit = 1 << (bits - 1)
    return value if max(least, -limit) <= value < limit else None


def _may_be_long(text: str | bytes) -> bool:
    """Whether a number may have too many digits: asking for each takes longer than reading all."""
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    # In UTF-16 and UTF-32, which JSON may be written in, other bytes stand between the digits.
    return _LONG_NUMBER in raw.translate(_DIGITS_AS_ZEROS) or b"\0" in raw


def _bounded(digits: str) -> int | float:
    # Python refuses to read integers of more than 4300 digits, no column holds one of 20, and
    # arithmetic with floats breaks off at 309.
    if len(digits) <= len(str(LARGEST_INTEGER)) and abs(int(digits)) <= LARGEST_INTEGER:
        return int(digits)
    return float(digits)
