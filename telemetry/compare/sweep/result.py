"""What a sweep over runs says."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from telemetry.compare.settings.number_texts import number_text
from telemetry.compare.terms import Direction
from telemetry.in_notebooks import ShownInNotebooks
from telemetry.json_values import Json
from telemetry.store.runs.run import Run


class Method(StrEnum):
    """How importance was measured."""

    FOREST = "forest"
    RANK_CORRELATION = "rank_correlation"


class Relation(StrEnum):
    """How a parameter's value stands to that of a condition."""

    AT_LEAST = ">="
    AT_MOST = "<="
    EQUAL = "="


class Step(StrEnum):
    """What to do with the range of a parameter in the next sweep."""

    EXTEND = "extend"
    NARROW = "narrow"
    AVOID = "avoid"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """One run of the sweep; `value` is None when the metric was never finite.

    A run that `diverged`, whose loss or metric ended in values that are not finite, ranks last
    whatever it reached before. One that was `cut_short` (pruned, killed, failed or still running)
    is compared with the others at the step it reached. `on_front`: no other run is better in one of
    metric, time and number of parameters without being worse in another.
    """

    run: Run
    parameters: Mapping[str, Json]
    value: float | None
    diverged: bool = False
    cut_short: bool = False
    seconds: float | None = None
    n_parameters: int | None = None
    on_front: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """The metric in one bin of a parameter: median of `runs - diverged` values, 95 % interval.

    Of fewer than six values the interval is their range. NaN where every run diverged.
    """

    value: str
    median: float
    low: float
    high: float
    runs: int
    diverged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One varied hyperparameter.

    `importance` in [0, 1], the share of the variance of the runs' ranks that its main effect
    explains, with its 95 % interval; `effect` is the response curve, low to high; `best` the best
    region as text; `condition` the setting of another parameter that switches this one on, or ''.
    """

    name: str
    importance: float
    ci_low: float
    ci_high: float
    important: bool
    best: str
    effect: tuple[CurvePoint, ...] = ()
    condition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """Two parameters whose joint effect is more than the sum of theirs, and by how much."""

    first: str
    second: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """`parameter relation value`, such as `lr >= 0.1`; texts have the relation `=`."""

    parameter: str
    relation: Relation
    value: float | str

    def __str__(self) -> str:
        value = self.value if isinstance(self.value, str) else number_text(self.value)
        return f"{self.parameter} {self.relation} {value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A pathology and the simplest rule over parameters that separates the runs that have it.

    `matching_runs` of the runs inside the rule have the finding, `rule_runs` are inside it;
    `failed_runs` have the finding anywhere. No conditions means that no simple
    rule separates them better than chance would; then every run counts as inside. `chance` is the
    share of shuffled sweeps in which a rule separates as well.
    """

    detector: str
    conditions: tuple[Condition, ...]
    matching_runs: int
    rule_runs: int
    failed_runs: int
    chance: float = 0.0

    @property
    def rule(self) -> str:
        """The conditions, joined by "and"."""
        return " and ".join(map(str, self.conditions))

    @property
    def errors(self) -> int:
        """Runs on the wrong side: inside without the finding, or outside with it."""
        return self.rule_runs + self.failed_runs - 2 * self.matching_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """The next range of one parameter, as text, and why."""

    parameter: str
    step: Step
    range: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Runs that differ by fold or seed alone, the best configuration first.

    `mean` of the metric with a 95 % interval that allows for the data the folds share; `behind` is
    the mean difference from the best configuration over common folds, positive where worse, with
    its interval; `missing` names folds that the others have.
    """

    parameters: Mapping[str, Json]
    runs: tuple[str, ...]
    folds: int
    mean: float
    ci_low: float
    ci_high: float
    worst: float
    behind: float
    behind_low: float
    behind_high: float
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep(ShownInNotebooks):
    """Outcome of `sweep_runs`: runs best first, parameters most important first.

    `seed_noise` is the standard deviation of the metric between runs that differ by seed or fold
    alone, None where no two do. `configurations` are filled where folds were asked for;
    `of_training` tells that the metric was measured in training, `is_smoothed` that the value of a
    run is the mean over the last tenth of its steps. `damage` names files that are torn, foreign or
    missing.
    """

    metric: str
    goal: Direction
    runs: tuple[SweepRun, ...]
    parameters: tuple[Parameter, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    seed_noise: float | None = None
    method: Method = Method.RANK_CORRELATION
    interactions: tuple[Interaction, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    of_training: bool = False
    is_smoothed: bool = False
    damage: tuple[str, ...] = ()

    @property
    def front(self) -> tuple[SweepRun, ...]:
        """The runs on the front of metric, time and parameters, best metric first."""
        return tuple(entry for entry in self.runs if entry.on_front)

    def to_json(self) -> dict[str, Json]:
        """Body of `sweep --json`."""
        return {
            "metric": self.metric,
            "of_training": self.of_training,
            "is_smoothed": self.is_smoothed,
            "goal": "min" if self.goal is Direction.LOWER else "max",
            "method": self.method,
            "runs": [_run_json(entry) for entry in self.runs],
            "parameters": [_parameter_json(entry) for entry in self.parameters],
            "interactions": [
                {"first": entry.first, "second": entry.second, "share": entry.share}
                for entry in self.interactions
            ],
            "failures": [_failure_json(entry) for entry in self.failures],
            "suggestions": [
                {
                    "parameter": entry.parameter,
                    "step": entry.step,
                    "range": entry.range,
                    "reason": entry.reason,
                }
                for entry in self.suggestions
            ],
            "configurations": [_configuration_json(entry) for entry in self.configurations],
            "warnings": self.warnings,
            "seed_noise": self.seed_noise,
        }


def _run_json(entry: SweepRun) -> Json:
    return {
        "run": entry.run.run,
        "name": entry.run.name,
        "parameters": entry.parameters,
        "value": entry.value,
        "status": entry.run.status,
        "diverged": entry.diverged,
        "cut_short": entry.cut_short,
        "seconds": entry.seconds,
        "n_parameters": entry.n_parameters,
        "on_front": entry.on_front,
    }


def _parameter_json(entry: Parameter) -> Json:
    return {
        "name": entry.name,
        "importance": entry.importance,
        "ci_low": entry.ci_low,
        "ci_high": entry.ci_high,
        "important": entry.important,
        "best": entry.best,
        "condition": entry.condition,
        "effect": [
            {
                "value": point.value,
                "median": point.median,
                "ci_low": point.low,
                "ci_high": point.high,
                "runs": point.runs,
                "diverged": point.diverged,
            }
            for point in entry.effect
        ],
    }


def _failure_json(entry: Failure) -> Json:
    return {
        "detector": entry.detector,
        "rule": entry.rule,
        "conditions": [
            {"parameter": one.parameter, "relation": one.relation, "value": one.value}
            for one in entry.conditions
        ],
        "matching_runs": entry.matching_runs,
        "rule_runs": entry.rule_runs,
        "failed_runs": entry.failed_runs,
        "chance": entry.chance,
        "errors": entry.errors,
    }


def _configuration_json(entry: Configuration) -> Json:
    return {
        "parameters": entry.parameters,
        "runs": entry.runs,
        "folds": entry.folds,
        "mean": entry.mean,
        "ci_low": entry.ci_low,
        "ci_high": entry.ci_high,
        "worst": entry.worst,
        "behind": entry.behind,
        "behind_low": entry.behind_low,
        "behind_high": entry.behind_high,
        "missing": entry.missing,
    }
