"""Layers whose statistics differ by more than the runs' own noise, furthest beyond it first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from telemetry.compare.curves.align import Floats, Ints, Series
from telemetry.compare.diff.result import LayerChange
from telemetry.compare.settings.layer_paths import containers_of
from telemetry.compare.statistics.student import t_quantile
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows
from telemetry.store.sessions.session import Session

NOISE_FLOOR = 0.2  # bits; 14 recipes x 66 pairs of seeds: 0 to 1.5 % of layers pass it and 2 sigma
NOISE_SIGMAS = 2.0
# Bits times sqrt(elements): three standard deviations of the log2 ratio of the norms of two random
# tensors, 3 * sqrt(2) / (sqrt(2) * ln 2); below 450 elements it exceeds the floor.
INITIAL_NOISE = 4.33
# The same of the share of dead units at a quarter: 3 sqrt(2) sqrt(0.25 0.75) / ((0.25 + 0.1) ln 2).
DEAD_NOISE = 7.6
NOISE_CAP = 1.0  # bits; medians over 10 steps and more of healthy pairs differ by at most 0.8
CAPPED_FROM = 10  # common steps
SEEDS_QUANTILE = 0.995
MAD_TO_DEVIATION = 1.4826
DEAD_OFFSET = 0.1  # dead shares are compared as share + 0.1, so that 0 has a logarithm
LOWEST_LOG2 = -149.0  # smallest float32; a norm of 0 counts as that
PERSISTENT = 3  # common steps in a row beyond the noise

NORMS_SQL = """
SELECT
    layer,
    step,
    SUM(n) AS n,
    SQRT(SUM(grad_norm * grad_norm)) AS grad_norm,
    SQRT(SUM(weight_norm * weight_norm)) AS weight_norm,
    SQRT(SUM(update_norm * update_norm) / NULLIF(SUM(weight_norm * weight_norm), 0))
        AS update_ratio
FROM layers
WHERE run = $run
GROUP BY
    layer,
    step
ORDER BY
    layer,
    step
"""
ACTIVATIONS_SQL = """
SELECT
    layer,
    step,
    MAX(n_units) AS n_units,
    MAX(dead_share) AS dead_share,
    MAX(CASE WHEN site = 'output' THEN rms END) AS activation_rms
FROM activations
WHERE run = $run
    AND phase = 'train'
GROUP BY
    layer,
    step
ORDER BY
    layer,
    step
"""
STATISTICS = ("grad_norm", "weight_norm", "update_ratio")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerCurve:
    """Log2 of one statistic of one layer over steps, and the floor of its noise in bits."""

    series: Series
    floor: float


Key = tuple[str, str]  # layer and statistic
LayerCurves = Mapping[Key, LayerCurve]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerComparison:
    """Layers beyond the noise, and the layers that only one side has."""

    changes: tuple[LayerChange, ...]
    only_base: tuple[str, ...]
    only_candidate: tuple[str, ...]


def compare_layers(
    base: Sequence[LayerCurves], candidate: Sequence[LayerCurves]
) -> LayerComparison:
    """Log2 ratios of the layers' statistics, candidate over base, against the noise.

    The median ratio over the common steps counts as a change when it exceeds two standard
    deviations of the ratio between steps, what random initialisation explains in a layer of that
    size, 0.2 bits, and, for groups, its interval over the runs.

    Args:
        base: Curves of each run of the base.
        candidate: The same of the candidate.
    """
    sides = (base, candidate)
    keys = [set.union(*(set(curves) for curves in side)) for side in sides]
    changes = [
        change
        for key in sorted(keys[0] & keys[1])
        if (change := _compared(key, [[c[key] for c in side if key in c] for side in sides]))
    ]
    layers = [{layer for layer, _ in side} for side in keys]
    return LayerComparison(
        changes=tuple(sorted(changes, key=lambda change: -abs(change.log2_ratio) / change.noise)),
        only_base=tuple(sorted(layers[0] - layers[1])) if layers[1] else (),
        only_candidate=tuple(sorted(layers[1] - layers[0])) if layers[0] else (),
    )


def ratio_noise(ratios: Floats, floor: float = NOISE_FLOOR) -> float:
    """Noise band of a ratio in bits, from its scatter over steps.

    Args:
        ratios: Log2 ratio at each common step, shape (n,).
        floor: Least noise, in bits.
    """
    scatter = MAD_TO_DEVIATION * float(np.median(np.abs(ratios - np.median(ratios))))
    band = NOISE_SIGMAS * scatter
    return max(floor, min(band, NOISE_CAP) if ratios.size >= CAPPED_FROM else band)


def seeds_noise(base: Floats, candidate: Floats) -> float:
    """Noise band of the difference of two groups in bits, from the scatter between their runs.

    Args:
        base: Median log2 statistic of each run, shape (n,); one group has two runs at least.
        candidate: The same of the other group.
    """
    groups = [group for group in (base, candidate) if group.size > 1]
    df = sum(group.size - 1 for group in groups)
    pooled = sum(float(np.var(group)) * group.size for group in groups) / df
    error = np.sqrt(pooled * (1 / base.size + 1 / candidate.size))
    return t_quantile(SEEDS_QUANTILE, float(df)) * float(error)


def _compared(key: Key, sides: Sequence[Sequence[LayerCurve]]) -> LayerChange | None:
    """The change of one statistic of one layer, None within the noise or without common steps."""
    curves = [curve for side in sides for curve in side]
    steps = reduce(np.intersect1d, [curve.series.steps for curve in curves])
    if steps.size == 0:
        return None
    base, candidate = (np.array([_at(curve.series, steps) for curve in side]) for side in sides)
    ratios = candidate.mean(axis=0) - base.mean(axis=0)
    ratio = float(np.median(ratios))
    noise = ratio_noise(ratios, max(curve.floor for curve in curves))
    if len(curves) > 2:  # noqa: PLR2004 - with one run a side there is no scatter between runs
        noise = max(noise, seeds_noise(np.median(base, axis=1), np.median(candidate, axis=1)))
    if abs(ratio) <= noise:
        return None
    layer, statistic = key
    return LayerChange(
        layer=layer,
        statistic=statistic,
        log2_ratio=ratio,
        noise=noise,
        first_step=_first_beyond(steps, ratios * np.sign(ratio), noise),
    )


def _at(series: Series, steps: Ints) -> Floats:
    return series.values[np.searchsorted(series.steps, steps)]


def _first_beyond(steps: Ints, ratios: Floats, noise: float) -> int | None:
    """The first of three common steps in a row (or all, if fewer) with a ratio above the noise."""
    length = min(PERSISTENT, steps.size)
    beyond = np.convolve(ratios > noise, np.ones(length), mode="valid") >= length
    found = np.flatnonzero(beyond)
    return int(steps[found[0]]) if found.size else None


def layer_curves(session: Session, run: Run) -> LayerCurves:
    """Log2 of each statistic; steps where it is not finite are left out."""
    parameters = {"run": run.run}
    norms = session.query(NORMS_SQL, parameters)
    floors = _floors(norms.floats("n"), INITIAL_NOISE)
    found: dict[Key, LayerCurve] = {}
    for name in STATISTICS:
        values = np.maximum(_log2(norms.floats(name)), LOWEST_LOG2)
        found.update(_by_layer(norms, name, values, floors))
    outputs = session.query(ACTIVATIONS_SQL, parameters)
    n_units = np.nan_to_num(outputs.floats("n_units"))
    values = _log2(outputs.floats("dead_share") + DEAD_OFFSET)
    found.update(_by_layer(outputs, "dead_share", values, _floors(n_units, DEAD_NOISE)))
    values = np.maximum(_log2(outputs.floats("activation_rms")), LOWEST_LOG2)
    sizes = _by_layer(outputs, "activation_rms", values, _floors(n_units, INITIAL_NOISE))
    # What a module that contains others puts out is what the last of them does.
    outer = containers_of(layer for layer, _ in sizes)
    found.update({key: curve for key, curve in sizes.items() if key[0] not in outer})
    return found


def _floors(n_values: Floats, noise: float) -> Floats:
    """The least noise in bits where one of so many random values has the given one."""
    return np.asarray(np.maximum(NOISE_FLOOR, noise / np.sqrt(np.maximum(n_values, 1))))


def _log2(values: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log2(values)


def _by_layer(rows: Rows, name: str, values: Floats, floors: Floats) -> LayerCurves:
    codes, layers = rows.codes("layer")
    steps = rows.ints("step")
    keep = np.isfinite(values)
    codes, steps, values, floors = codes[keep], steps[keep], values[keep], floors[keep]
    edges = np.searchsorted(codes, np.arange(len(layers) + 1))
    return {
        (layer, name): LayerCurve(
            series=Series(steps=steps[first:end], values=values[first:end]),
            floor=float(floors[first]),
        )
        for layer, first, end in zip(layers, edges[:-1], edges[1:], strict=True)
        if end > first
    }
