"""Cross-validation: folds are repeated measures of one configuration, and share their data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from telemetry.compare.settings.config_changes import canonical, flat, is_repeat_key
from telemetry.compare.settings.repeats import (
    Share,
    essential,
    fold_of,
    grouped,
    share_of,
    words_of,
)
from telemetry.compare.statistics.folds import fold_estimate
from telemetry.compare.sweep.result import Configuration, SweepRun
from telemetry.compare.terms import Direction
from telemetry.errors import UsageError
from telemetry.json_values import Json


def configurations(entries: Sequence[SweepRun], goal: Direction) -> tuple[Configuration, ...]:
    """The configurations behind the runs, best mean first, each compared with the best.

    A fold that diverged makes the mean of its configuration infinitely bad. Of two runs of the same
    fold and seed the first counts. Inner folds and holdouts count only where nothing else is there.

    Raises:
        UsageError: the settings of the runs name no folds, or one only, or there are inner folds
            of several outer folds and nothing else.
    """
    entries = of_one_share(entries)
    n_folds = number_of_folds([entry.run.config for entry in entries])
    _refuse_mixture(entries)
    groups = [[entries[i] for i in places] for places in grouped([e.run for e in entries])]
    folds = sorted({fold for entry in entries for fold in _folds(entry)})
    sign = 1.0 if goal is Direction.LOWER else -1.0
    found = [_configuration(group, n_folds, folds, sign) for group in groups]
    measured = sorted(
        ((one, group) for one, group in zip(found, groups, strict=True) if one.folds),
        key=lambda pair: sign * pair[0].mean,
    )
    if not measured:
        return ()
    best = _values(measured[0][1], sign)
    return tuple(_compared(one, _values(group, sign), best, n_folds) for one, group in measured)


def of_one_share(entries: Sequence[SweepRun]) -> list[SweepRun]:
    """The runs that can be compared: without inner folds and holdouts, where others are there."""
    own = [entry for entry in entries if share_of(entry.run) is Share.OWN]
    return own or list(entries)


def number_of_folds(configs: Sequence[Mapping[str, Json]]) -> int:
    """Folds of the cross-validation: a setting such as `n_folds`, else how many there are.

    Raises:
        UsageError: the settings name no folds, or one only.
    """
    inner = any(fold_of(config, inner=True) is not None for config in configs)
    stated = [
        value
        for config in configs
        for key, value in flat(config).items()
        if "folds" in words_of(key) and isinstance(value, int) and not isinstance(value, bool)
        if ("outer" if inner else "inner") not in words_of(key)
    ]
    seen = {fold_of(config, inner=inner) for config in configs} - {None}
    count = max([len(seen), *stated])
    if not seen or count < 2:  # noqa: PLR2004 - one fold repeats nothing
        raise UsageError(
            "--folds needs runs whose settings contain the number of their fold, found "
            f"{len(seen)}; record it: TelemetryCallback(config={{'fold': fold, ...}})."
        )
    return count


def _refuse_mixture(entries: Sequence[SweepRun]) -> None:
    inner = [entry.run for entry in entries if share_of(entry.run) is Share.INNER]
    outer = {fold_of(run.config, inner=False) for run in inner} - {None}
    if len(outer) > 1:
        raise UsageError(
            f"the runs are inner folds of {len(outer)} outer folds, which do not repeat each "
            "other; choose the inner folds of one outer fold with --tag, or add the runs of the "
            "outer folds."
        )


def _folds(entry: SweepRun) -> list[str]:
    fold = fold_of(entry.run.config, inner=share_of(entry.run) is Share.INNER)
    return [] if fold is None else [fold]


def _values(group: Sequence[SweepRun], sign: float) -> dict[str, float]:
    """Signed metric, lower is better, of each repetition: fold, seed, or both."""
    found: dict[str, float] = {}
    for entry in group:
        config = flat(entry.run.config)
        key = canonical({name: value for name, value in config.items() if is_repeat_key(name)})
        if entry.diverged:
            found.setdefault(key, math.inf)
        elif entry.value is not None:
            found.setdefault(key, sign * entry.value)
    return found


def _configuration(
    group: Sequence[SweepRun], n_folds: int, folds: Sequence[str], sign: float
) -> Configuration:
    values = [sign * value for value in _values(group, sign).values()]
    have = {
        fold
        for entry in group
        if entry.value is not None or entry.diverged
        for fold in _folds(entry)
    }
    mean, low, high = _interval(values, n_folds)
    varied = set(group[0].parameters) & set(essential(group[0].run.config))
    return Configuration(
        parameters={name: group[0].parameters[name] for name in sorted(varied)},
        runs=tuple(entry.run.run for entry in group),
        folds=len(have),
        mean=mean,
        ci_low=low,
        ci_high=high,
        worst=sign * max((sign * value for value in values), default=math.nan),
        behind=0.0,
        behind_low=0.0,
        behind_high=0.0,
        missing=tuple(fold for fold in folds if fold not in have),
    )


def _compared(
    one: Configuration, values: Mapping[str, float], best: Mapping[str, float], n_folds: int
) -> Configuration:
    """The configuration with its distance from the best one, over the folds that both have."""
    if values == best:
        return one
    common = [values[key] - best[key] for key in values if key in best]
    common = [math.inf if math.isnan(difference) else difference for difference in common]
    mean, low, high = _interval(common, n_folds)
    return replace(one, behind=mean, behind_low=low, behind_high=high)


def _interval(values: Sequence[float], n_folds: int) -> tuple[float, float, float]:
    """Mean over folds and its 95 % interval; infinitely wide without a finite spread."""
    numbers = np.array(values, dtype=np.float64)
    mean = float(numbers.mean()) if numbers.size else math.nan
    if numbers.size < 2 or not math.isfinite(mean):  # noqa: PLR2004 - one value has no spread
        return mean, -math.inf, math.inf
    return mean, *fold_estimate(numbers, n_train=n_folds - 1, n_test=1).interval()
