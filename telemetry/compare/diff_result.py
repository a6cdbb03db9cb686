"""What a comparison of two runs, or two groups of runs, says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from telemetry.compare.labels import RunLabels
from telemetry.diagnose.finding import Finding
from telemetry.json_values import Json


class Verdict(StrEnum):
    """Is the candidate worse? `no_change` is a positive statement within the margin."""

    REGRESSION = "regression"
    IMPROVEMENT = "improvement"
    NO_CHANGE = "no_change"
    INCONCLUSIVE = "inconclusive"


class Direction(StrEnum):
    """Which way of a metric is better."""

    LOWER = "lower"
    HIGHER = "higher"


class DirectionSource(StrEnum):
    """Why a direction is taken: a word of the metric's name, the user, or nothing better known."""

    NAME = "name"
    GIVEN = "given"
    ASSUMED = "assumed"


class Axis(StrEnum):
    """What places the values of two runs beside each other."""

    STEP = "step"
    SAMPLES = "samples"
    TOKENS = "tokens"
    TIME = "time"


class DivergenceKind(StrEnum):
    """Why two runs part."""

    INITIAL_WEIGHTS = "initial_weights"
    DATA = "data"
    OPTIMIZATION = "optimization"
    CODE = "code"
    ENVIRONMENT = "environment"
    NONDETERMINISM = "nondeterminism"
    NONE = "none"
    UNKNOWN = "unknown"


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
class Trend:
    """A metric's course: means over each side's runs, in equal stretches of the axis.

    Attributes:
        first: Where the first stretch begins.
        last: Where the last one ends.
        base: One value a stretch; None where no run has one.
        candidate: The same of the candidate.
    """

    first: float = math.nan
    last: float = math.nan
    base: tuple[float | None, ...] = ()
    candidate: tuple[float | None, ...] = ()


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
    trend: Trend = Trend()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChange:
    """One configuration key that differs; None stands for a missing key."""

    key: str
    base: Json
    candidate: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """One statistic of one layer that left the noise band; `log2_ratio` and `noise` in bits."""

    layer: str
    statistic: str
    log2_ratio: float
    noise: float
    first_step: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The first step at which two runs differ, and what differed first.

    Attributes:
        step: The first step with a difference; None if there is none, or no step in common.
        kind: Why the runs part.
        layer: Where the difference arises, as far as it was recorded.
        detail: The same in words.
        equal_until: The last common step before it, up to which every recorded number is equal.
        layers: All layers that differ at that step, the one where it arises first.
        magnitude: Relative difference of the first number that differs; NaN if it has none, as
            a hash. Rounding of float32 makes 1e-7 to 1e-5, another computation more.
        base: Id of the run of the base that was compared, one with the same seed if there is any.
        candidate: The same of the candidate; both '' where a file stands for the base.
    """

    step: int | None
    kind: DivergenceKind
    layer: str | None
    detail: str
    equal_until: int | None = None
    layers: tuple[str, ...] = ()
    magnitude: float = math.nan
    base: str = ""
    candidate: str = ""


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
class Diff:
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
