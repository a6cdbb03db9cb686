"""Reads the curves of runs, metric by metric, smoothed as the numbers of all screens are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from telemetry.compare.curves.metric_names import LOSS, by_importance
from telemetry.configuration import nearest
from telemetry.errors import Inconclusive, UsageError
from telemetry.format.run_loss import LossCurve
from telemetry.format.smoothing import SMOOTHED_FROM
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.store.summaries.summaries import Curve, run_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_RUNS = 20  # more lines cannot be told from one another
USUAL_METRICS = 4  # with the loss; others by name
EVALUATED = "eval"
NO_RUN = "no run was given; `telemetry runs` lists all runs."
FILES = "telemetry.compare.plot.files"  # which imports this module
PHASES = (EVALUATED, "", "train")  # where a name was recorded in several, the first counts

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlottedCurve:
    """One metric of one run; `steps` and `values` have shape (n,), NaN is a value.

    `is_smoothed`: each value is the mean over the tenth of the curve that ends there.
    """

    run: Run
    steps: Ints
    values: Floats
    is_smoothed: bool
    last: float
    best: float | None

    def to_json(self) -> dict[str, Json]:
        """One entry of `curves`."""
        return {
            "run": self.run.run,
            "name": self.run.name,
            "smoothed": self.is_smoothed,
            "last": self.last,
            "best": self.best,
            "steps": self.steps.tolist(),
            "values": self.values.tolist(),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlottedMetric:
    """One metric of the runs that recorded it, in their order."""

    name: str
    curves: tuple[PlottedCurve, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plot:
    """What is drawn: a chart a metric, a curve a run."""

    runs: tuple[Run, ...]
    metrics: tuple[PlottedMetric, ...]
    warnings: tuple[str, ...] = field(default=())

    def figure(self) -> "Figure":
        """A figure of matplotlib with these charts, to change or to save.

        Raises:
            UsageError: matplotlib is not installed.
        """
        drawn: Figure = import_module(FILES).in_figure(self)
        return drawn

    def _repr_svg_(self) -> str | None:
        """What a notebook shows; nothing where no value is finite."""
        try:
            return str(import_module(FILES).in_standalone_svg(self).decode())
        except UsageError:
            return None

    def to_json(self) -> dict[str, Json]:
        """Body of `plot --json`."""
        return {
            "runs": [run.to_json() for run in self.runs],
            "metrics": [
                {"name": metric.name, "curves": [curve.to_json() for curve in metric.curves]}
                for metric in self.metrics
            ],
            "warnings": list(self.warnings),
        }


def plot(*runs: Run, metrics: Sequence[str] | None = None, smooth: bool = True) -> Plot:
    """The curves of runs, which a notebook shows as a picture; see `plot_runs`.

    Args:
        runs: At most twenty, the first one first in legends.
        metrics: Names instead of the usual ones; also `grad_norm`, `lr` and `step_s`.
        smooth: False shows every value as it was recorded.

    Raises:
        UsageError: no run, too many, or a metric that none of them recorded.
        Inconclusive: no run recorded a step or a metric.
    """
    if not all(isinstance(run, Run) for run in runs):
        raise UsageError(
            "plot takes runs, as `Store.open().select('latest')` returns them; names do not say "
            "in which store to look."
        )
    if not runs:
        raise UsageError(NO_RUN)
    return plot_runs(Store.of(runs[0]), runs, metrics=metrics, smooth=smooth)


def plot_runs(
    store: Store,
    runs: Sequence[Run],
    *,
    metrics: Sequence[str] | None = None,
    smooth: bool = True,
) -> Plot:
    """The curves of runs: of the loss and the metrics that say most about them.

    The loss, and what else was recorded step by step, is smoothed by the definition of
    `telemetry.format.run_loss`: the curve ends at the loss that `runs` and `show` tell. What was
    evaluated is shown as it was logged.

    Args:
        store: Where the runs lie.
        runs: At most twenty, the first one first in legends.
        metrics: Names instead of the usual ones; also `grad_norm`, `lr` and `step_s`.
        smooth: False shows every value as it was recorded.

    Raises:
        UsageError: no run, too many, or a metric that none of them recorded.
        Inconclusive: no run recorded a step or a metric.
    """
    runs = list({run.ref.path: run for run in runs}.values())
    if not runs:
        raise UsageError(NO_RUN)
    if len(runs) > MOST_RUNS:
        raise UsageError(
            f"{len(runs)} runs are too many for one picture; choose at most {MOST_RUNS}. "
            "`telemetry sweep` compares many."
        )
    with store.session(runs) as session:
        curves = [run_curves(session, run).curves for run in runs]
        warnings = session.warnings
    return plot_of(runs, curves, metrics=metrics, smooth=smooth, warnings=warnings)


def plot_of(
    runs: Sequence[Run],
    curves: Sequence[Iterable[Curve]],
    *,
    metrics: Sequence[str] | None = None,
    smooth: bool = True,
    warnings: tuple[str, ...] = (),
) -> Plot:
    """As `plot_runs`, of curves that were read before; `curves` go along with `runs`."""
    found = [_by_name(own) for own in curves]
    names = _chosen(found, metrics)
    return Plot(
        runs=tuple(runs),
        warnings=warnings,
        metrics=tuple(
            PlottedMetric(
                name=name,
                curves=tuple(
                    _plotted(run, own[name], smooth=smooth)
                    for run, own in zip(runs, found, strict=True)
                    if name in own
                ),
            )
            for name in names
        ),
    )


def _by_name(curves: Iterable[Curve]) -> dict[str, Curve]:
    """One curve a name, of the phase that counts most."""
    found: dict[str, Curve] = {}
    for curve in sorted(curves, key=lambda one: PHASES.index(one.phase), reverse=True):
        found[curve.name] = curve
    return found


def _chosen(found: Sequence[Mapping[str, Curve]], asked: Sequence[str] | None) -> list[str]:
    known = by_importance(name for curves in found for name in curves)
    if not known:
        raise Inconclusive(
            "these runs recorded neither a step nor a metric, so there is nothing to draw."
        )
    for name in asked or ():
        if name not in known:
            raise UsageError(f"no run recorded the metric {name!r}; {nearest(name, known)}")
    if asked:
        return list(dict.fromkeys(asked))
    evaluated = {name for curves in found for name in curves if curves[name].phase == EVALUATED}
    usual = [LOSS, *(name for name in known if name in evaluated and name != LOSS)]
    return [name for name in usual if name in known][:USUAL_METRICS] or known[:1]


def _plotted(run: Run, curve: Curve, *, smooth: bool) -> PlottedCurve:
    is_smoothed = smooth and curve.phase != EVALUATED and curve.values.size >= SMOOTHED_FROM
    steps, values = curve.steps, curve.values
    if is_smoothed:
        steps, values = LossCurve.of(curve.steps, curve.values).smoothed()
    return PlottedCurve(
        run=run,
        steps=steps,
        values=values,
        is_smoothed=is_smoothed,
        last=curve.last,
        best=None if curve.best is None else curve.best[0],
    )
