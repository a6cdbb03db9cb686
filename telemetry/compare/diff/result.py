"""What a comparison of two runs, or two groups of runs, says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.compare.curves.trends import NO_TREND, Trend
from telemetry.compare.divergence.cause import Divergence
from telemetry.compare.settings.config_changes import ConfigChange
from telemetry.compare.settings.labels import RunLabels
from telemetry.compare.terms import Axis, Direction, DirectionSource, Verdict
from telemetry.diagnose.finding import Finding
from telemetry.in_notebooks import ShownInNotebooks
from telemetry.json_values import Json
from telemetry.store.summaries.trained_parameters import TrainedParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One number of both sides; `change` is (candidate - base) / |base|, as is its 95 % interval.

    What does not exist is NaN.
    """

    base: float = math.nan
    candidate: float = math.nan
    change: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChange:
    """One metric; `change`, `ci_low`, `ci_high` are (candidate - base) / |base|.

    `base` and `candidate` are means over runs of the final value, which is the one judged. `best`
    and `area` tell the same of the best value and of the curve's mean height over the axis (the
    area under it over its length). Numbers that do not exist are NaN.

    Attributes:
        p: One-sided p value of the claim that the verdict makes, or of the one that comes nearest
            where it makes none; corrected after Holm for all metrics but the deciding one.
        paired: Whether runs of equal seeds were compared one by one.
        effect_size: Difference of the final values in standard deviations of one run's value
            (Hedges' g); NaN where there is one run a side.
        detectable: Smallest relative change that these runs would have told in 80 % of trials.
        step: Last step that all runs have reached; None on another axis than steps.
        end: Last position on the axis that all runs have reached: step, samples, tokens, seconds.
        is_smoothed: Whether the final and the best values are means over a tenth of the curve, as
            of a training loss, each of whose values is that of a single batch.
    """

    name: str
    direction: Direction
    direction_from: DirectionSource = DirectionSource.NAME
    base: float
    candidate: float
    change: float
    ci_low: float
    ci_high: float
    verdict: Verdict
    reason: str
    best: Quantity = Quantity()
    area: Quantity = Quantity()
    p: float = math.nan
    paired: bool = False
    effect_size: float = math.nan
    detectable: float = math.nan
    n_base: int = 1
    n_candidate: int = 1
    step: int | None = None
    end: float | None = None
    is_smoothed: bool = False
    trend: Trend = NO_TREND


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """One statistic of one layer that left the noise band; `log2_ratio` and `noise` in bits."""

    layer: str
    statistic: str
    log2_ratio: float
    noise: float
    first_step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostChange:
    """What a step costs; `change`, `ci_low`, `ci_high` are (candidate - base) / |base|.

    That of `data_s`, the wait for data, is relative to the whole step of the base. The verdict is
    by the costs' own margin and never decides the comparison. Numbers that do not exist are NaN.

    Attributes:
        name: step_s (median), step_s_p95, samples_per_s, data_s (mean) or peak_memory_bytes.
    """

    name: str
    direction: Direction
    base: float
    candidate: float
    change: float
    ci_low: float
    ci_high: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """Which parameters the first run of each side trains; None where a file does not say it."""

    base: TrainedParameters | None = None
    candidate: TrainedParameters | None = None

    def to_json(self) -> dict[str, Json]:
        """The entry `trained` of `diff --json`."""
        return {
            "base": self.base.to_json() if self.base else None,
            "candidate": self.candidate.to_json() if self.candidate else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff(ShownInNotebooks):
    """Outcome of `diff_runs`; `metrics` holds the deciding metric first.

    `baseline_file` is where the base was read from, None for recorded runs.
    """

    base: tuple[RunLabels, ...]
    candidate: tuple[RunLabels, ...]
    verdict: Verdict
    reason: str
    margin: float
    metrics: tuple[MetricChange, ...]
    config: tuple[ConfigChange, ...]
    layers: tuple[LayerChange, ...]
    new_findings: tuple[Finding, ...]
    fixed_findings: tuple[Finding, ...]
    first_divergence: Divergence
    costs: tuple[CostChange, ...] = ()
    warnings: tuple[str, ...] = ()
    axis: Axis = Axis.STEP
    baseline_file: str | None = None
    trained: Trainings = Trainings()

    def to_json(self) -> dict[str, Json]:
        """Body of `diff --json`: `base` and `candidate` are the first run of each group."""
        return {
            "base": self.base[0].to_json(),
            "candidate": self.candidate[0].to_json(),
            "baseline_file": self.baseline_file,
            "base_runs": [run.run for run in self.base],
            "candidate_runs": [run.run for run in self.candidate],
            "verdict": self.verdict,
            "reason": self.reason,
            "margin": self.margin,
            "axis": self.axis,
            "metrics": [_fields(metric) for metric in self.metrics],
            "config": [_fields(change) for change in self.config],
            "trained": self.trained.to_json(),
            "layers": [_fields(layer) for layer in self.layers],
            "findings": {
                "new": [finding.to_json() for finding in self.new_findings],
                "fixed": [finding.to_json() for finding in self.fixed_findings],
            },
            "first_divergence": _fields(self.first_divergence),
            "costs": [_fields(cost) for cost in self.costs],
            "warnings": self.warnings,
        }


def _fields(
    record: MetricChange | Quantity | Trend | ConfigChange | LayerChange | Divergence | CostChange,
) -> Mapping[str, Json]:
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {
        name: _fields(value) if isinstance(value, Quantity | Trend) else value
        for name, value in values.items()
    }
