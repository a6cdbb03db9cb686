"""Which settings differ between two runs or groups of runs; equal ones are never listed."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from telemetry import json_values
from telemetry.json_values import Json, json_number
from telemetry.store.runs.run import Run

ENVIRONMENT_PREFIX = "environment."
RECORDED_PREFIX = "recorded."  # of what the callback found, not the user configured
# What can change numbers. Hosts, users, folders, process ids and command lines only look different.
TELLING_WORDS = frozenset(
    {"python", "torch", "cuda", "cudnn", "numpy", "git", "commit", "revision", "dirty"}
    | {"version", "telemetry", "device", "devices", "gpu", "accelerator", "cpu", "world"}
    | {"packages", "numerics", "script", "cublas", "nvidia", "threads", "pythonhashseed"}
)
NOISE_WORDS = frozenset(
    {"host", "hostname", "node", "user", "path", "folder", "cwd", "pid", "argv", "command"}
    | {"time", "url", "count", "visible", "alloc", "branch"}
)
Settings = Mapping[str, Json]  # values by dotted key

_PLAIN = frozenset({str, int, float, bool, type(None)})  # known without asking what they are
_LEAVES = _PLAIN | {list, tuple}

REPEAT_WORDS = frozenset({"seed", "seeds", "fold", "repeat", "repetition", "replicate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """One configuration key that differs; None stands for a missing key."""

    key: str
    base: Json
    candidate: Json


def config_changes(
    base: Sequence[Settings], candidate: Sequence[Settings]
) -> tuple[ConfigChange, ...]:
    """Settings that differ, configuration first; a missing key and None are the same.

    What was found out, not configured, differs only where both sides know something of its kind: an
    older run that recorded no versions of packages has no other ones.

    A setting that varies inside a group, such as the seed, is compared as the sorted list of the
    group's values.

    Args:
        base: `settings` of each run of the base.
        candidate: The same of the candidate.
    """
    sides = (base, candidate)
    keys = sorted({key for side in sides for one in side for key in one}, key=_configuration_first)
    found = [
        ConfigChange(key=key, base=_common(sides[0], key), candidate=_common(sides[1], key))
        for key in keys
    ]
    known = [{"", *(_kind(key) for one in side for key in one)} for side in sides]
    return tuple(
        change
        for change in found
        if not same_value(change.base, change.candidate)
        and all(_kind(change.key) in kinds for kinds in known)
    )


def settings(run: Run) -> Settings:
    """Configuration, and the part of the environment that can change numbers, with dotted keys."""
    environment = flat(run.manifest.environment) if run.manifest else {}
    telling = {
        ENVIRONMENT_PREFIX + key: value for key, value in environment.items() if _is_telling(key)
    }
    return {**flat(run.config), **telling}


@lru_cache(maxsize=4096)
def is_repeat_key(key: str) -> bool:
    """Whether a setting only numbers repetitions of one configuration, as a seed or a fold does."""
    words = set(re.findall(r"[a-z]+", key.lower()))
    return bool(words & REPEAT_WORDS) or {"random", "state"} <= words


def flat(tree: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    """Nested mappings with dotted keys; lists stay values."""
    if not prefix and _LEAVES.issuperset(map(type, tree.values())):  # as manifests have it
        return dict(tree)
    found: dict[str, Json] = {}
    for key, value in tree.items():
        if type(value) not in _PLAIN and isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = value
    return found


def same_value(left: Json, right: Json) -> bool:
    """Equality by type and value: 1 equals 1.0, but not True and not "1"; NaN equals itself."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right or (left != left and right != right)  # noqa: PLR0124 - NaN
    if isinstance(left, str) or isinstance(right, str) or left is None or right is None:
        return type(left) is type(right) and left == right
    if isinstance(left, Mapping) or isinstance(right, Mapping):
        both = isinstance(left, Mapping) and isinstance(right, Mapping)
        return both and canonical(left) == canonical(right)
    if isinstance(left, Sequence) and isinstance(right, Sequence):
        pairs = zip(left, right, strict=False)
        return len(left) == len(right) and all(same_value(a, b) for a, b in pairs)
    return False


def canonical(value: Json) -> str:
    """One text per value: equal values, as `same_value` sees them, have equal texts."""
    if type(value) in _PLAIN:  # nearly all of them; a sweep of 2,000 runs asks 45,000 times
        return _plain_text(type(value).__name__, value)
    return json_values.dumps(_canonical(value))


def varies(values: Iterable[Json]) -> bool:
    """Whether two of them differ; a missing one is None."""
    each = iter(values)
    first = canonical(next(each, None))
    return any(canonical(value) != first for value in each)


@lru_cache(maxsize=1 << 16)
def _plain_text(_kind: str, value: Json) -> str:
    """By kind as well, for 1 and True are one key of a cache."""
    return json_values.dumps(_canonical(value))


def _canonical(value: Json) -> Json:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 2**53 else value
    if isinstance(value, float):
        return value + 0.0  # one zero, not two
    if isinstance(value, Mapping):
        return {key: _canonical(value[key]) for key in sorted(value)}
    if isinstance(value, Sequence):
        return [_canonical(item) for item in value]
    return value


def _kind(key: str) -> str:
    """What a key that was found out belongs to, such as `environment.packages`; else ''."""
    if not key.startswith((ENVIRONMENT_PREFIX, RECORDED_PREFIX)):
        return ""
    return ".".join(key.split(".")[:2])


def _common(side: Sequence[Settings], key: str) -> Json:
    """The group's value, or all its values in a fixed order where they differ."""
    values = [one.get(key) for one in side]
    if all(same_value(value, values[0]) for value in values):
        return values[0]
    return sorted(values, key=lambda value: (isinstance(value, str), _number(value), str(value)))


def _number(value: Json) -> float:
    number = json_number(value)
    return math.inf if number is None or math.isnan(number) else number  # NaN has no order


def _configuration_first(key: str) -> tuple[bool, str]:
    return key.startswith(ENVIRONMENT_PREFIX), key


def _is_telling(key: str) -> bool:
    words = set(re.findall(r"[a-z]+", key.lower()))
    return bool(words & TELLING_WORDS) and not words & NOISE_WORDS
