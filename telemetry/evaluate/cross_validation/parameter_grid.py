"""Configurations that a cross-validation trains: a grid in a file, or as a finding advises."""

import itertools
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from telemetry.errors import UsageError
from telemetry.json_values import Json

SHAPE = (
    "a table [params] with a list for each parameter, such as lr = [0.1, 0.01], and optionally "
    "a table [fixed]"
)
REPEAT_NAMES = frozenset({"fold", "repeat", "seed"})  # in the config of each run: ours

LR_FACTORS = (1.0, 0.3, 0.1)
CLIP_NORMS: tuple[Json, ...] = ("none", 1.0)
# What a vanishing gradient asks for, as far as the user's function has such a parameter.
SIGNAL_KEEPING: Mapping[str, tuple[Json, ...]] = {
    "init": ("he", "xavier"),
    "normalisation": ("layer", "batch"),
    "normalization": ("layer", "batch"),
    "activation": ("relu", "gelu"),
}
ADVISED = ("exploding_gradient", "vanishing_gradient")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterGrid:
    """Values to choose from, and what stays.

    Attributes:
        params: Values of each parameter; the first ones are the incumbent's.
        fixed: Parameters that all configurations share.
    """

    params: Mapping[str, Sequence[Json]] = field(default_factory=dict)
    fixed: Mapping[str, Json] = field(default_factory=dict)

    @property
    def configurations(self) -> list[dict[str, Json]]:
        """Every combination with the fixed parameters; the last parameter varies fastest."""
        return [
            {**self.fixed, **dict(zip(self.params, values, strict=True))}
            for values in itertools.product(*self.params.values())
        ]


def load_grid(path: Path) -> ParameterGrid:
    """The grid of a TOML file.

    Raises:
        UsageError: it cannot be read, or is no grid; the message names the key.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"{path}: the grid cannot be read ({reason}); it needs {SHAPE}."
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML ({error}).") from error
    unknown = sorted(set(document) - {"params", "fixed"})
    tables = [document.get(name, {}) for name in ("params", "fixed")]
    if unknown or not all(isinstance(table, dict) for table in tables):
        raise UsageError(
            f"{path}: found {', '.join(unknown) or 'no tables'}; a grid needs {SHAPE}."
        )
    return checked_grid(*tables, source=str(path))


def checked_grid(
    params: Mapping[str, Sequence[Json]], fixed: Mapping[str, Json], *, source: str
) -> ParameterGrid:
    """The grid of values that may be wrong; `source` names it in messages.

    Raises:
        UsageError: a parameter is no list, has a value twice, or stands in both parts.
    """
    for name, values in params.items():
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise UsageError(f"{source}: params.{name} is {values!r}; a grid needs {SHAPE}.")
        texts = [_checked(value, name, source) for value in values]
        if len(set(texts)) < len(texts):
            raise UsageError(f"{source}: params.{name} contains a value twice: {list(values)!r}.")
    for name, value in fixed.items():
        _checked(value, name, source)
    both = sorted(params.keys() & fixed.keys())
    if both:
        raise UsageError(f"{source}: {', '.join(both)} is both in params and fixed.")
    return ParameterGrid(params=dict(params), fixed=dict(fixed))


def advised_grid(given: ParameterGrid, detector: str) -> ParameterGrid:
    """The grid that the advice of a finding asks for; a parameter with a list keeps its own.

    Args:
        given: The parameters as they are, under `fixed`; the first value of each list.
        detector: The finding's detector.

    Raises:
        UsageError: no grid follows from it, or no parameter that it advises on is known.
    """
    if detector not in ADVISED:
        raise UsageError(
            f"--from-finding {detector!r}: a grid can be derived only from "
            f"{' and '.join(ADVISED)}; write the values to try into the --params file."
        )
    if detector == "exploding_gradient":
        advised = _against_explosion(given.fixed)
    else:
        advised = _against_vanishing(given.fixed)
        if not advised and not given.params:
            raise UsageError(
                "--from-finding vanishing_gradient: under [fixed] of the --params file, set "
                "those of init, normalisation and activation that your function understands."
            )
    advised = {name: values for name, values in advised.items() if name not in given.params}
    return ParameterGrid(
        params={**given.params, **advised},
        fixed={name: value for name, value in given.fixed.items() if name not in advised},
    )


def _against_explosion(fixed: Mapping[str, Json]) -> dict[str, list[Json]]:
    """Clipping, and lower learning rates where the learning rate is known."""
    clip = fixed.get("clip_norm", CLIP_NORMS[0])
    advised: dict[str, list[Json]] = {"clip_norm": _first(clip, CLIP_NORMS)}
    lr = fixed.get("lr")
    if isinstance(lr, int | float) and not isinstance(lr, bool):
        advised["lr"] = [lr, *(float(f"{lr * factor:.12g}") for factor in LR_FACTORS[1:])]
    return advised


def _against_vanishing(fixed: Mapping[str, Json]) -> dict[str, list[Json]]:
    return {
        name: _first(fixed[name], choices)
        for name, choices in SIGNAL_KEEPING.items()
        if name in fixed
    }


def _first(value: Json, choices: Sequence[Json]) -> list[Json]:
    """A value and the other choices: what is used now is the incumbent."""
    return [value, *(choice for choice in choices if choice != value)]


def _checked(value: Json, name: str, source: str) -> str:
    """The text by which equal values are equal.

    Raises:
        UsageError: it cannot stand in the parameters of a run.
    """
    if name in REPEAT_NAMES:
        raise UsageError(f"{source}: {name} cannot be a parameter: every fold has its own.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(
            f"{source}: {name} is {value}; write a text that your function understands, such as "
            '"none".'
        )
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError as error:
        raise UsageError(f"{source}: {name} is {value!r}; use numbers, texts or lists.") from error
