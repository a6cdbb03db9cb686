"""Which columns slices are made of, and which are refused or set apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.configuration import nearest
from telemetry.errors import UsageError
from telemetry.evaluate.slicing.levels import Levels, column_levels
from telemetry.evaluate.stored.evaluations import Examples
from telemetry.evaluate.stored.metadata import PREFIX

USUAL = ("label", "target_value")  # beside the metadata
ON_REQUEST = ("prediction", "predicted_value", "confidence", "margin", "entropy")
DISTINCT_LIMIT = 0.5  # share of distinct texts from which a column names examples, not groups
TELLING_LIMIT = 0.9  # share of the entropy of "is right" that a column takes away


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Columns to slice by, those that tell the outcome itself, and what was left out."""

    used: tuple[Levels, ...]
    telling: tuple[str, ...]
    warnings: tuple[str, ...]


def slicing_columns(
    examples: Examples, errors: npt.NDArray[np.float64] | None, by: Sequence[str]
) -> Columns:
    """The columns of examples, as levels.

    Args:
        examples: The examples that are judged.
        errors: Whether each is wrong, shape (n,); None where that is not judged.
        by: Columns that were asked for, with or without `m_`; none means label and metadata.

    Raises:
        UsageError: a column is unknown, repeats the label or names each example; or there is none.
    """
    names = [_known(examples, name) for name in by] or _usual(examples)
    label = column_levels("label", examples.table.column("label"))
    used, telling, warnings = [], [], []
    for name in dict.fromkeys(names):
        levels = column_levels(name, examples.table.column(name))
        fault = _fault(levels, label)
        if fault and by:
            raise UsageError(f"cannot slice by {name}: {fault} Choose another column.")
        if fault:
            warnings.append(f"{name} is not used: {fault}")
        elif errors is not None and _tells(levels, errors) > TELLING_LIMIT:
            telling.append(name)
        elif len(levels.levels) > 1:
            used.append(levels)
    if not used and not telling:
        raise UsageError(
            "the examples have no column to group by; make the data set return metadata: "
            "(input, label, {'time': 'night'})."
        )
    return Columns(used=tuple(used), telling=tuple(telling), warnings=tuple(warnings))


def _usual(examples: Examples) -> list[str]:
    names = [name for name in examples.table.column_names if name.startswith(PREFIX)]
    return [*(name for name in USUAL if _has_values(examples, name)), *names]


def _has_values(examples: Examples, name: str) -> bool:
    return bool(examples.table.column(name).null_count < len(examples))


def _known(examples: Examples, name: str) -> str:
    """The column that a name means."""
    metadata = [n for n in examples.table.column_names if n.startswith(PREFIX)]
    own = [n for n in (*USUAL, *ON_REQUEST) if _has_values(examples, n)]
    for candidate in (name, f"{PREFIX}{name}"):
        if candidate in {*own, *metadata}:
            return candidate
    raise UsageError(f"there is no column {name!r} to slice by; {nearest(name, [*own, *metadata])}")


def _fault(levels: Levels, label: Levels) -> str:
    """Why a column cannot make groups, '' when it can."""
    if levels.distinct_share > DISTINCT_LIMIT and levels.name != label.name:
        return (
            f"{100 * levels.distinct_share:.0f} % of its values are distinct, so it identifies "
            "single examples."
        )
    if levels.name in {label.name, *ON_REQUEST} or len(label.levels) <= 1:
        return ""
    pairs = len(set(zip(levels.codes.tolist(), label.codes.tolist(), strict=True)))
    if pairs == len(levels.levels) == len(label.levels):
        return "it repeats the label under another name."
    return ""


def _tells(levels: Levels, errors: npt.NDArray[np.float64]) -> float:
    """Share of the entropy of `errors` that is gone once the level is known."""
    counts = np.empty((2, len(levels.levels)), dtype=np.float64)
    for place, part in enumerate((errors, 1 - errors)):
        counts[place] = np.bincount(levels.codes, weights=part, minlength=len(levels.levels))
    whole = _entropy(counts.sum(axis=1))
    if whole == 0:
        return 0.0
    shares = (counts.sum(axis=0) / counts.sum()).tolist()
    left = math.fsum(share * _entropy(counts[:, place]) for place, share in enumerate(shares))
    return 1 - left / whole


def _entropy(counts: npt.NDArray[np.float64]) -> float:
    total = float(counts.sum())
    return -sum(c / total * math.log(c / total) for c in map(float, counts) if c > 0)
