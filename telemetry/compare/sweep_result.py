"""What a sweep over runs says."""

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.compare.diff_result import Direction
from telemetry.json_values import Json
from telemetry.store.catalog import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """One run of the sweep; `value` is None when the metric was never finite.

    A run that `diverged`, whose loss or metric ended in values that are not finite, ranks last
    whatever it reached before.
    """

    run: Run
    parameters: Mapping[str, Json]
    value: float | None
    diverged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One varied hyperparameter.

    `importance` in [0, 1] with its 95 % interval; `effect` holds the median metric per value (or
    bin), low to high, NaN where every run diverged; `best` is the best region as text.
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
    `failed_runs` have the finding anywhere. An empty rule means that no simple
    rule separates them better than chance would; then every run counts as inside. `chance` is the
    share of shuffled sweeps in which a rule separates as well.
    """

    detector: str
    rule: str
    matching_runs: int
    rule_runs: int
    failed_runs: int
    chance: float = 0.0

    @property
    def errors(self) -> int:
        """Runs on the wrong side: inside without the finding, or outside with it."""
        return self.rule_runs + self.failed_runs - 2 * self.matching_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Outcome of `sweep_runs`: runs best first, parameters most important first.

    `seed_noise` is the standard deviation of the metric between runs that differ by seed alone,
    None where no two do.
    """

    metric: str
    goal: Direction
    runs: tuple[SweepRun, ...]
    parameters: tuple[Parameter, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]
    seed_noise: float | None = None

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
                    "diverged": entry.diverged,
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
                    "effect": [
                        {"value": value, "median": median} for value, median in entry.effect
                    ],
                }
                for entry in self.parameters
            ],
            "failures": [
                {name: getattr(entry, name) for name in (*Failure.__dataclass_fields__, "errors")}
                for entry in self.failures
            ],
            "warnings": self.warnings,
            "seed_noise": self.seed_noise,
        }
