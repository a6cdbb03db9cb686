"""Hyperparameters that vary over runs, as numbers or categories, in bins low to high."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from telemetry.compare.settings.config_changes import canonical, flat, is_repeat_key, varies
from telemetry.compare.settings.number_texts import number_text, range_text
from telemetry.json_values import Json, json_number

MOST_BINS = 8
RUNS_PER_BIN = 3  # where values are spread too thinly to stand for themselves
FEWEST_BINS = 3
NOT_SET = "not set"
DECADES_OF_LOG_SCALE = 2  # a positive parameter that spans more is read on a log scale

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Varied:
    """One parameter over n runs.

    `numbers`, shape (n,), is None for categories and NaN in the runs that do not set it; `bins`
    says the bin of each run, shape (n,), and `labels` names the bins: first `n_ranges` ranges of
    numbers from low to high, then texts. Bins are values where there are few, else ranges of about
    equal size. Ranks and such bins are the same on a linear and on a log scale, so none has to be
    chosen. `condition` says which value of another parameter switches this one on, if one does.
    """

    name: str
    numbers: npt.NDArray[np.float64] | None
    bins: npt.NDArray[np.int64]
    labels: tuple[str, ...]
    condition: str = ""

    @property
    def n_ranges(self) -> int:
        """How many of the bins hold numbers."""
        if self.numbers is None:
            return 0
        return int(self.bins[np.isfinite(self.numbers)].max()) + 1

    @property
    def is_set(self) -> Mask:
        """Runs that set the parameter, shape (n,)."""
        if NOT_SET not in self.labels:
            return np.ones(self.bins.size, dtype=np.bool_)
        return np.asarray(self.bins != self.labels.index(NOT_SET), dtype=np.bool_)

    @property
    def log_scale(self) -> bool:
        """Whether the numbers are positive and span decades."""
        if self.numbers is None:
            return False
        low, high = float(np.nanmin(self.numbers)), float(np.nanmax(self.numbers))
        return low > 0 and high >= low * 10**DECADES_OF_LOG_SCALE


def varied_parameters(configs: Sequence[Mapping[str, Json]]) -> list[Varied]:
    """Parameters that differ between runs, by name; a missing one and None are "not set".

    Left out are seeds and folds, which number repetitions; texts that hardly ever repeat, such as
    output folders: a label of each run explains everything and nothing; and what only repeats that
    another parameter has switched it on.

    Args:
        configs: Configuration of each run.
    """
    table = [flat(config) for config in configs]
    names = sorted({name for row in table for name in row if not is_repeat_key(name)})
    columns = {name: [row.get(name) for row in table] for name in names}
    encoded = [_encoded(name, column) for name, column in columns.items() if varies(column)]
    repeating = [one for one in encoded if _repeats(one)]
    conditional = [replace(one, condition=_condition(one, repeating)) for one in repeating]
    return [one for one in conditional if not one.condition or len(one.labels) > 2]  # noqa: PLR2004 - one value and "not set"


def value_text(value: Json) -> str:
    """A parameter's value as text; whole floats and integers look alike."""
    if value is None:
        return NOT_SET
    if isinstance(value, str):
        return value
    number = json_number(value)
    return canonical(value) if number is None else number_text(number)


def _repeats(parameter: Varied) -> bool:
    """Whether its texts repeat, so that they can say something about more than one run."""
    n_texts = len(parameter.labels) - parameter.n_ranges
    return n_texts <= 1 or 2 * n_texts <= parameter.bins.size


def _encoded(name: str, column: Sequence[Json]) -> Varied:
    numbers = np.array([_number(value) for value in column], dtype=np.float64)
    finite = np.isfinite(numbers)
    bins = np.zeros(len(column), dtype=np.int64)
    labels: list[str] = []
    if finite.any():
        bins[finite] = _binned(numbers[finite])
        labels = [
            range_text(float(part.min()), float(part.max()))
            for part in (numbers[finite & (bins == i)] for i in range(int(bins.max()) + 1))
        ]
    others = {i: value_text(column[i]) for i in np.flatnonzero(~finite).tolist()}
    texts = sorted(set(others.values()), key=_not_set_last)
    bin_of = {text: bin_ for bin_, text in enumerate(texts, len(labels))}
    bins[list(others)] = [bin_of[text] for text in others.values()]
    return Varied(
        name=name,
        numbers=numbers if finite.any() else None,
        bins=bins,
        labels=(*labels, *texts),
    )


def _number(value: Json) -> float:
    """The number, NaN for what is none; infinities are texts."""
    number = json_number(value)
    return math.nan if number is None or math.isinf(number) else number


def _not_set_last(text: str) -> tuple[bool, str]:
    return text == NOT_SET, text


def _condition(parameter: Varied, others: Sequence[Varied]) -> str:
    """The setting of another parameter that decides whether this one is set, '' without one."""
    is_set = parameter.is_set
    if is_set.all():
        return ""
    for other in sorted(others, key=lambda one: len(one.labels)):
        if other is parameter or 2 * len(other.labels) > other.bins.size:
            continue
        share = [float(is_set[other.bins == i].mean()) for i in range(len(other.labels))]
        if other.is_set.all() and all(part in {0.0, 1.0} for part in share):
            on = [label for label, part in zip(other.labels, share, strict=True) if part]
            return f"{other.name} = {', '.join(on)}"
    return ""


def _binned(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Each distinct value its own bin, or bins of equal size where the values are many."""
    distinct, place = np.unique(numbers, return_inverse=True)
    if distinct.size <= min(MOST_BINS, max(2, numbers.size // 2)):
        return place.astype(np.int64)
    count = int(np.clip(numbers.size // RUNS_PER_BIN, FEWEST_BINS, MOST_BINS))
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, count + 1)[1:-1]))
    _, bins = np.unique(np.searchsorted(edges, numbers, side="right"), return_inverse=True)
    return bins.astype(np.int64)
