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
class MetricChange:
    """One metric; `change`, `ci_low`, `ci_high` are (candidate - base) / |base|.

    `base` and `candidate` are means over runs of the final value, `base_best` and
    `candidate_best` of the best one; `step` is the last step that all runs have reached. Numbers
    that do not exist are NaN.
    """

    name: str
    direction: Direction
    base: float
    candidate: float
    change: float
    ci_low: float
    ci_high: float
    verdict: Verdict
    reason: str
    base_best: float = math.nan
    candidate_best: float = math.nan
    n_base: int = 1
    n_candidate: int = 1
    step: int | None = None


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
    """

    step: int | None
    kind: DivergenceKind
    layer: str | None
    detail: str
    equal_until: int | None = None
    layers: tuple[str, ...] = ()
    magnitude: float = math.nan


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
    """Outcome of `diff_runs`; `metrics` holds the deciding metric first."""

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

    def to_json(self) -> dict[str, Json]:
        """Body of `diff --json`: `base` and `candidate` are the first run of each group."""
        return {
            "base": self.base[0].to_json(),
            "candidate": self.candidate[0].to_json(),
            "base_runs": [run.run for run in self.base],
            "candidate_runs": [run.run for run in self.candidate],
            "verdict": self.verdict,
            "reason": self.reason,
            "margin": self.margin,
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
    record: MetricChange | ConfigChange | LayerChange | Divergence | CostChange,
) -> Mapping[str, Json]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}
