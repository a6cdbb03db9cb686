"""What a command line left behind, and what tests hold it against."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import TypeAlias

from jsonschema import Draft202012Validator

from telemetry.json_values import Json


@dataclass(frozen=True, slots=True)
class Done:
    """Exit code and everything that was written."""

    code: int
    out: str
    err: str


Telemetry: TypeAlias = Callable[..., Done]
Golden: TypeAlias = Callable[[str, str], None]
Terminal: TypeAlias = Callable[[int], None]


def validated(schema: str, text: str) -> dict[str, Json]:
    """The JSON object of a document that its schema in schemas/json accepts."""
    document = json.loads(text, parse_constant=_refuse)
    folder = resources.files("telemetry.schemas.json")
    rules = json.loads(folder.joinpath(f"{schema}.json").read_text("utf-8"))
    Draft202012Validator.check_schema(rules)
    Draft202012Validator(rules).validate(document)
    return document


def steady(text: str) -> str:
    """The text without what depends on the version of a library: sizes of files, ends of lines."""
    text = re.sub(r"\d+(\.\d+)? (B|kB|MB)\b", "SIZE", text)
    return "\n".join(line.rstrip() for line in text.split("\n"))


def widest(text: str) -> int:
    """Length of the longest line."""
    return max(len(line.rstrip()) for line in text.splitlines())


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not strict JSON")
