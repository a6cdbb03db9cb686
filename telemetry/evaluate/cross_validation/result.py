"""What a comparison of the configurations of a cross-validation says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from telemetry.compare.terms import Direction
from telemetry.evaluate.cross_validation.nested_result import Nested
from telemetry.evaluate.cross_validation.scores import Configuration, FoldScore
from telemetry.json_values import Json


class Standing(StrEnum):
    """A configuration against the incumbent."""

    INCUMBENT = "incumbent"
    BETTER = "better"
    WORSE = "worse"
    NO_DIFFERENCE = "no_difference"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One configuration; numbers that do not exist are NaN.

    Attributes:
        configuration: Its parameters and scores.
        n_folds: Folds that it was scored on.
        n_lost: Those among them that diverged or failed.
        mean: Mean score; infinitely bad with a lost fold.
        mean_kept: Mean over the folds that were not lost.
        difference: Mean of the paired differences to the incumbent, in the metric's own sign.
        error: Its corrected standard error.
        ci_low: Lower end of its 95 % interval.
        ci_high: Upper end.
        p: Two-sided, adjusted for the number of configurations.
        detectable: Smallest difference that would have been significant without that adjustment.
        verdict: Against the incumbent.
        reason: What the verdict rests on.
    """

    configuration: Configuration
    n_folds: int
    n_lost: int
    mean: float
    mean_kept: float
    difference: float = math.nan
    error: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p: float = math.nan
    detectable: float = math.nan
    verdict: Standing = Standing.INCONCLUSIVE
    reason: str = ""

    def to_json(self) -> Mapping[str, Json]:
        """An entry of `cv compare --json`."""
        numbers = ("mean_kept", "difference", "error", "p", "detectable")
        return {
            "config_id": self.configuration.config_id,
            "parameters": self.configuration.parameters,
            "folds": self.n_folds,
            "lost": self.n_lost,
            "mean": self.mean,
            **{name: _known(getattr(self, name)) for name in numbers},
            "ci": None if math.isnan(self.ci_low) else [self.ci_low, self.ci_high],
            "verdict": self.verdict,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """Outcome of `compare`: the incumbent first, then the best first.

    `holdout` is the winner's score on examples that no fold has, None where there is none;
    `has_holdout` tells that some configuration has one. `nested` is what the choice itself scores,
    None where nothing was trained in inner folds.
    """

    cv_id: str
    metric: str
    goal: Direction
    n_folds: int
    configurations: tuple[Compared, ...]
    winner: Configuration | None
    notes: tuple[str, ...]
    holdout: FoldScore | None = None
    has_holdout: bool = False
    nested: Nested | None = None

    @property
    def is_decided(self) -> bool:
        """Whether any configuration could be held against the incumbent."""
        rest = self.configurations[1:]
        return any(entry.verdict is not Standing.INCONCLUSIVE for entry in rest)

    @property
    def answer(self) -> str:
        """The outcome in one sentence."""
        incumbent = self.configurations[0].configuration
        if self.winner is None:
            return "no configuration finished every fold"
        if self.winner.config_id == incumbent.config_id:
            return (
                f"keep {incumbent.title}: no other configuration is better by more than its "
                "standard error"
            )
        chosen = next(e for e in self.configurations if e.configuration == self.winner)
        title = self.winner.title
        if math.isnan(chosen.difference):
            return f"use {title}: it is the best of those that finished every fold"
        if chosen.verdict is Standing.BETTER:
            return f"use {title}: it is significantly better than {incumbent.title}"
        return (
            f"use {title}: it is better than {incumbent.title} by more than the standard error, "
            "but not significantly"
        )

    def to_json(self) -> dict[str, Json]:
        """Body of `cv compare --json`."""
        return {
            "verb": "cv.compare",
            "cv_id": self.cv_id,
            "metric": self.metric,
            "goal": "min" if self.goal is Direction.LOWER else "max",
            "folds": self.n_folds,
            "winner": {
                "config_id": self.winner.config_id,
                "parameters": self.winner.parameters,
                "holdout": self._holdout_json(),
            }
            if self.winner
            else None,
            "answer": self.answer,
            "nested": None if self.nested is None else self.nested.to_json(),
            "configurations": [entry.to_json() for entry in self.configurations],
            "notes": list(self.notes),
        }

    def _holdout_json(self) -> Json:
        score = self.holdout
        if score is None:
            return None
        return {
            "value": _known(score.value),
            "status": score.status,
            "examples": int(score.n_test),
            "run": score.run.run,
        }


def _known(value: float) -> Json:
    return None if math.isnan(value) else value
