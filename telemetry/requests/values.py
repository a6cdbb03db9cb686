"""Reads a record back from the JSON document that it travelled as."""

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Self, TypeVar, get_args, get_origin, get_type_hints

from telemetry.errors import UsageError
from telemetry.json_values import Json

T = TypeVar("T")
SHOWN_CHARACTERS = 200  # of a document that is no request


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Base of what one process asks of another: a record of plain values, tuples and records."""

    def to_json(self) -> dict[str, Json]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Json]) -> Self:
        """The request of a document.

        Raises:
            UsageError: it has other fields.
        """
        try:
            return _record(cls, document)
        except TypeError as error:
            shown = json.dumps(document)[:SHOWN_CHARACTERS]
            raise UsageError(f"not a {cls.__name__}: {error}; found {shown}") from error


def _record(kind: type[T], document: Json) -> T:
    """A record of a document that has each of its fields, and no other.

    Raises:
        TypeError: it has not.
    """
    hints = get_type_hints(kind)
    if not isinstance(document, Mapping) or set(document) != set(hints):
        raise TypeError(f"the fields are {', '.join(hints)}")
    return kind(**{name: _value(hint, document[name], name) for name, hint in hints.items()})


def _value(hint: object, value: Json, name: str) -> object:
    origin, choices = get_origin(hint), get_args(hint)
    if origin is types.UnionType:  # X | None
        return None if value is None else _value(choices[0], value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(_value(choices[0], entry, name) for entry in value)
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint, value)
    if hint is float and type(value) is int:
        return float(value)
    if not isinstance(hint, type) or type(value) is not hint:
        raise TypeError(f"{name} is {value!r}")
    return value
