"""What a sweep over runs says."""

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.compare.diff_result import Direction
from telemetry.json_values import Json
from telemetry.store.catalog import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """One run of the sweep; `value` is None when the metric was never finite."""

    run: Run
    parameters: Mapping[str, Json]
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One varied hyperparameter.

    `importance` in [0, 1] with its 95 % interval; `effect` holds the mean metric per value (or
    bin), low to high; `best` is the best region as text.
    """

    name: str
    importance: float
    ci_low: float
    ci_high: float
    important: bool
    best: str
    effect: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A pathology and the simplest rule over parameters that separates the runs that have it.

    `matching_runs` of the runs inside the rule have the finding, `rule_runs` are inside it;
    `failed_runs` have the finding anywhere.
    """

    detector: str
    rule: str
    matching_runs: int
    rule_runs: int
    failed_runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Outcome of `sweep_runs`: runs best first, parameters most important first."""

    metric: str
    goal: Direction
    runs: tuple[SweepRun, ...]
    parameters: tuple[Parameter, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Body of `sweep --json`."""
        return {
            "metric": self.metric,
            "goal": "min" if self.goal is Direction.LOWER else "max",
            "runs": [
                {
                    "run": entry.run.run,
                    "name": entry.run.name,
                    "parameters": entry.parameters,
                    "value": entry.value,
                    "status": entry.run.status,
                }
                for entry in self.runs
            ],
            "parameters": [
                {
                    "name": entry.name,
                    "importance": entry.importance,
                    "ci_low": entry.ci_low,
                    "ci_high": entry.ci_high,
                    "important": entry.important,
                    "best": entry.best,
                    "effect": [{"value": value, "mean": mean} for value, mean in entry.effect],
                }
                for entry in self.parameters
            ],
            "failures": [
                {name: getattr(entry, name) for name in Failure.__dataclass_fields__}
                for entry in self.failures
            ],
            "warnings": self.warnings,
        }
