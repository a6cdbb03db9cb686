"""Hyperparameters that vary over runs, as numbers or categories, in bins low to high."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.compare.config_changes import canonical, flat, is_repeat_key
from telemetry.json_values import Json

MOST_BINS = 8
RUNS_PER_BIN = 3  # where values are spread too thinly to stand for themselves
FEWEST_BINS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Varied:
    """One parameter over n runs.

    `numbers` is None for categories; `bins` says the bin of each run, shape (n,), and `labels`
    names the bins. Bins are values where there are few, else ranges of about equal size. Ranks and
    such bins are the same on a linear and on a log scale, so none has to be chosen.
    """

    name: str
    numbers: npt.NDArray[np.float64] | None
    bins: npt.NDArray[np.int64]
    labels: tuple[str, ...]


def varied_parameters(configs: Sequence[Mapping[str, Json]]) -> list[Varied]:
    """Parameters that differ between runs, by name; a missing one is None.

    Left out are seeds and folds, which number repetitions, and texts that hardly ever repeat, such
    as output folders: a label of each run explains everything and nothing.

    Args:
        configs: Configuration of each run.
    """
    table = [flat(config) for config in configs]
    names = sorted({name for row in table for name in row if not is_repeat_key(name)})
    columns = {name: [row.get(name) for row in table] for name in names}
    encoded = [_encoded(name, column) for name, column in columns.items() if _varies(column)]
    return [
        parameter
        for parameter in encoded
        if parameter.numbers is not None or 2 * len(parameter.labels) <= len(table)
    ]


def number_text(value: float) -> str:
    """A parameter's number as people write it."""
    return f"{value:.4g}"


def value_text(value: Json) -> str:
    """A parameter's value as text; whole floats and integers look alike."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(float(value))
    return canonical(value)


def range_text(low: float, high: float) -> str:
    """A range of numbers, or the one number."""
    ends = number_text(low), number_text(high)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} .. {ends[1]}"


def _varies(column: Sequence[Json]) -> bool:
    return len({canonical(value) for value in column}) > 1


def _encoded(name: str, column: Sequence[Json]) -> Varied:
    numeric = [v for v in column if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numeric) < len(column):
        texts = [value_text(value) for value in column]
        labels = tuple(sorted(set(texts)))
        bins = np.array([labels.index(text) for text in texts], dtype=np.int64)
        return Varied(name=name, numbers=None, bins=bins, labels=labels)
    numbers = np.array(numeric, dtype=np.float64)
    bins = _binned(numbers)
    labels = tuple(
        range_text(float(numbers[bins == i].min()), float(numbers[bins == i].max()))
        for i in range(int(bins.max()) + 1)
    )
    return Varied(name=name, numbers=numbers, bins=bins, labels=labels)


def _binned(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Each distinct value its own bin, or bins of equal size where the values are many."""
    distinct, place = np.unique(numbers, return_inverse=True)
    if distinct.size <= min(MOST_BINS, max(2, numbers.size // 2)):
        return place.astype(np.int64)
    count = int(np.clip(numbers.size // RUNS_PER_BIN, FEWEST_BINS, MOST_BINS))
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, count + 1)[1:-1]))
    _, bins = np.unique(np.searchsorted(edges, numbers, side="right"), return_inverse=True)
    return bins.astype(np.int64)
