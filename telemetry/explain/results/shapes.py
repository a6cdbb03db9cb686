"""Whether a stored document still has the shape that `schemas/json/explain.json` publishes.

A document may be of an older version, or changed by hand; whoever shows it relies on its keys.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import cast

from telemetry.json_values import Json

ADDED_LATER = frozenset({"page"})  # by the command that shows it
OF_TYPE: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
Schema = Mapping[str, Json]


def fits(document: Json, name: str) -> bool:
    """Whether a document has every key of a definition of the schema, each of its type.

    Args:
        document: As stored.
        name: Of the definition.
    """
    found = document
    if isinstance(found, dict):
        found = {**dict.fromkeys(ADDED_LATER), **found}
    return _fits(found, cast("Schema", _definitions()[name]))


@cache
def _definitions() -> Schema:
    text = resources.files("telemetry.schemas.json").joinpath("explain.json").read_text("utf-8")
    return cast("Schema", json.loads(text)["$defs"])


def _fits(value: Json, schema: Schema) -> bool:
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        return _fits(value, cast("Schema", _definitions()[name]))
    choices = cast("list[Schema]", schema.get("anyOf") or schema.get("oneOf") or [])
    fails = (
        bool(choices) and not any(_fits(value, choice) for choice in choices),
        "enum" in schema and value not in cast("list[Json]", schema["enum"]),
        "const" in schema and value != schema["const"],
        "type" in schema and not _is_of(value, schema["type"]),
        isinstance(value, dict) and not _fits_object(value, schema),
        isinstance(value, list) and not _fits_array(value, schema),
    )
    return not any(fails)


def _is_of(value: Json, wanted: Json) -> bool:
    names = wanted if isinstance(wanted, list) else [wanted]
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, OF_TYPE[str(name)]) for name in names)


def _fits_object(value: Mapping[str, Json], schema: Schema) -> bool:
    required = cast("list[str]", schema.get("required", []))
    known = cast("Mapping[str, Schema]", schema.get("properties", {}))
    others = schema.get("additionalProperties", {})
    rest = [part for name, part in value.items() if name not in known]
    if any(name not in value for name in required) or (others is False and rest):
        return False
    if isinstance(others, Mapping) and not all(_fits(part, others) for part in rest):
        return False
    return all(_fits(part, known[name]) for name, part in value.items() if name in known)


def _fits_array(value: list[Json], schema: Schema) -> bool:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not int(cast("int", least)) <= len(value) <= int(cast("int", most)):
        return False
    items = cast("Schema", schema.get("items", {}))
    return all(_fits(part, items) for part in value)
