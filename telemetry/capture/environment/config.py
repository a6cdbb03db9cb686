"""The user's configuration as run.json keeps it: flat dotted keys, plain values, bounded size."""

import dataclasses
import logging
import math
from argparse import Namespace
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import PurePath

from telemetry.capture.environment.hidden_values import is_secret, without_secrets
from telemetry.capture.isolation.contained import contained
from telemetry.format.replay import HIDDEN
from telemetry.json_values import Json

logger = logging.getLogger(__name__)

TEXT_LIMIT = 500  # characters of one value
KEY_LIMIT = 200
DEPTH_LIMIT = 12  # also what ends a mapping that contains itself
SIZE_LIMIT_BYTES = 96 * 1024  # a manifest has 256 KiB for everything
LIST_ITEMS_LIMIT = 50
TRUNCATED_KEY = "telemetry.keys_left_out"
LARGEST_INT = 2**63 - 1
NUMBER_BYTES = 24


def flatten_config(config: object) -> dict[str, Json]:
    """Hyperparameters as flat dotted keys with scalar values; never raises.

    Args:
        config: A mapping, dataclass, argparse.Namespace, object with attributes, or None. Lists
            and unknown objects become short text, values of keys like `api_key` are hidden.
            Beyond 96 KiB the rest is left out and counted under `telemetry.keys_left_out`.
    """
    flat: dict[str, Json] = {}
    n_bytes = n_left_out = 0
    with contained(_log_broken_config):
        for key, value in _walk("", _top_level(config), 0):
            size = _n_bytes(key) + _n_bytes(value)
            if n_bytes + size > SIZE_LIMIT_BYTES:
                n_left_out += 1
                continue
            n_bytes += size
            flat[key] = value
    if n_left_out:
        flat[TRUNCATED_KEY] = n_left_out
    return flat


def _top_level(config: object) -> Mapping[object, object]:
    if config is None:
        return {}
    mapping = _as_mapping(config)
    if mapping is not None:
        return mapping
    attributes = getattr(config, "__dict__", None)
    if isinstance(attributes, dict) and not isinstance(config, type):
        return {key: value for key, value in attributes.items() if not key.startswith("_")}
    return {"config": config}


def _walk(prefix: str, mapping: Mapping[object, object], depth: int) -> Iterator[tuple[str, Json]]:
    for key, value in mapping.items():
        path = _short(f"{prefix}.{key}" if prefix else str(key), KEY_LIMIT)
        inner = _as_mapping(value) if depth < DEPTH_LIMIT else None
        if inner:
            yield from _walk(path, inner, depth + 1)
        elif is_secret(path, value):
            yield path, HIDDEN
        else:
            yield path, described_value(value)


def _as_mapping(value: object) -> Mapping[object, object] | None:
    """The named parts of a value that has such, else None."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # not asdict(): it copies every value deeply, tensors included
        fields: dict[object, object] = {}
        fields.update(
            {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        )
        return fields
    if isinstance(value, Namespace):
        attributes: dict[object, object] = {}
        attributes.update(vars(value).items())
        return attributes
    return None


def described_value(value: object) -> Json:
    """A value of JSON that says the same, or short text; the type's name if all else raises."""
    described: list[Json] = []
    with contained(lambda _: described.append(type(value).__qualname__)):
        described.append(_scalar(value))
    return described[0]


def _scalar(value: object) -> Json:
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) <= LARGEST_INT else _short(hex(value))
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str | PurePath):
        return _short(str(value))
    return _text(value)


def _text(value: object) -> Json:
    """Lists, numbers of other libraries and unknown objects."""
    if isinstance(value, list | tuple | AbstractSet):
        items = sorted(value, key=str) if isinstance(value, AbstractSet) else list(value)
        shown = ", ".join(str(_scalar(item)) for item in items[:LIST_ITEMS_LIMIT])
        return _short(f"[{shown}{', …' if len(items) > LIST_ITEMS_LIMIT else ''}]")
    shape = getattr(value, "shape", None)
    if shape is not None:
        return _array(value, tuple(shape))
    if isinstance(value, type) or callable(value):
        # repr() would put an address there, which differs in every run
        return _short(getattr(value, "__qualname__", type(value).__qualname__))
    text = repr(value)
    return _short(type(value).__qualname__ if " at 0x" in text else text)


def _array(value: object, shape: tuple[int, ...]) -> Json:
    """A number of numpy or torch by its value, an array by its shape: it may be on a device."""
    item = getattr(value, "item", None)
    if math.prod(shape) == 1 and callable(item):
        number: object = item()
        return number if isinstance(number, bool | int | float | str) else _short(repr(number))
    return _short(f"{type(value).__qualname__}{list(shape)}")


def _short(text: str, limit: int = TEXT_LIMIT) -> str:
    text = without_secrets(text[: 4 * limit])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _n_bytes(value: Json) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass")) + 4
    return NUMBER_BYTES


def _log_broken_config(error: Exception) -> None:
    logger.warning("the configuration could not be read completely: %s", error)
