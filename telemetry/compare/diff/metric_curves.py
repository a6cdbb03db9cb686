"""One side of a comparison for one metric, and what two sides have in common."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

from telemetry.compare.curves.align import Series, common_horizon

Curves = tuple[Series, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCurves:
    """One side of a comparison for one metric.

    `n_diverged` runs ended without a finite loss or metric, the first of them from position
    `diverged_at` on; `curves` are those of the others, and `seeds` what numbers each of these
    among the repetitions of one configuration (empty, or one a curve; None: not known).
    """

    curves: Curves
    seeds: tuple[Hashable | None, ...] = ()
    n_diverged: int = 0
    diverged_at: int | None = None

    @property
    def mostly_diverged(self) -> bool:
        """More than half of the runs."""
        return self.n_diverged > len(self.curves)

    def of_seeds(self, seeds: tuple[Hashable | None, ...]) -> "MetricCurves":
        """The runs of these seeds, in their order."""
        curves = tuple(self.curves[self.seeds.index(seed)] for seed in seeds)
        return replace(self, curves=curves, seeds=seeds)


def cut(base: MetricCurves, candidate: MetricCurves) -> tuple[MetricCurves, MetricCurves]:
    """Both sides up to the last common position; whole where a run has no value until then."""
    horizon = common_horizon([*base.curves, *candidate.curves])
    found = [
        replace(side, curves=tuple(series.until(horizon) for series in side.curves))
        for side in (base, candidate)
    ]
    if all(len(series) for side in found for series in side.curves):
        return found[0], found[1]
    return base, candidate


def seed_pairs(
    base: MetricCurves, candidate: MetricCurves
) -> tuple[MetricCurves, MetricCurves] | None:
    """The runs whose seed both sides have, in one order; None where there is none.

    A side with an unknown seed, or with one seed twice, does not say which run belongs to which.
    """
    for side in (base, candidate):
        if None in side.seeds or len(set(side.seeds)) < len(side.seeds):
            return None
    common = tuple(seed for seed in base.seeds if seed in candidate.seeds)
    return (base.of_seeds(common), candidate.of_seeds(common)) if common else None
