"""What a choice among configurations is worth, as `nested` finds it."""

import math
from collections import Counter
from dataclasses import dataclass

from telemetry.evaluate.cross_validation.scores import Configuration, FoldScore
from telemetry.json_values import Json

SHOWN_CHOICES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the inner folds of one fold chose.

    Attributes:
        place: The fold, as (repeat, fold).
        configuration: The choice; None: none finished every inner fold.
        score: Its score on the fold, NaN where it was lost; None as above.
    """

    place: tuple[int, int]
    configuration: Configuration | None
    score: FoldScore | None

    @property
    def value(self) -> float:
        """The score; NaN where there is none."""
        return math.nan if self.score is None else self.score.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    """What choosing scores; numbers that do not exist are NaN.

    Attributes:
        metric: Of which score.
        inner_folds: By how many a choice is made.
        n_missing: Trainings that have no score yet; with any there are no choices.
        choices: One for each fold.
        mean: Mean score of the choices over the folds; infinitely bad where one was lost.
        ci_low: Lower end of its 95 % interval, corrected as those of `compare` are.
        ci_high: Upper end.
    """

    metric: str
    inner_folds: int
    n_missing: int
    choices: tuple[Choice, ...] = ()
    mean: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan

    @property
    def n_lost(self) -> int:
        """Folds in which nothing could be chosen, or the choice diverged or failed."""
        return sum(math.isnan(choice.value) for choice in self.choices)

    @property
    def answer(self) -> str:
        """The outcome in one sentence."""
        if self.n_missing:
            return (
                f"{self.n_missing} trainings in inner folds are missing; `telemetry cv run "
                f"--nested {self.inner_folds}` trains them"
            )
        n_folds = len(self.choices)
        if self.n_lost:
            return (
                f"nested cross-validation failed in {self.n_lost} of {n_folds} folds: no "
                "configuration could be chosen, or the chosen one did not finish"
            )
        return (
            f"choosing this way scores {self.metric} {self.mean:.4g} (95 % {self.ci_low:.4g} .. "
            f"{self.ci_high:.4g}) on unseen examples: each of {n_folds} folds tests the "
            f"configuration that {self.inner_folds} inner folds of its training examples chose, "
            f"{self._chosen()}"
        )

    def _chosen(self) -> str:
        titles = [choice.configuration.title for choice in self.choices if choice.configuration]
        counts = Counter(titles).most_common()
        shown = [f"{title} {n} times" if n > 1 else f"{title} once" for title, n in counts]
        n_more = len(shown) - SHOWN_CHOICES
        if n_more > 1:
            return f"{', '.join(shown[:SHOWN_CHOICES])} and {n_more} others"
        return ", ".join(shown)

    def to_json(self) -> dict[str, Json]:
        """As `telemetry cv` has it."""
        return {
            "metric": self.metric,
            "inner_folds": self.inner_folds,
            "missing": self.n_missing,
            "lost": self.n_lost,
            "value": None if math.isnan(self.mean) else self.mean,
            "ci": None if math.isnan(self.ci_low) else [self.ci_low, self.ci_high],
            "answer": self.answer,
            "choices": [
                {
                    "repeat": choice.place[0],
                    "fold": choice.place[1],
                    "config_id": choice.configuration.config_id if choice.configuration else None,
                    "value": None if math.isnan(choice.value) else choice.value,
                }
                for choice in self.choices
            ],
        }
