"""What a search for slices, or a look at one of them, says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from telemetry.evaluate.stored.evaluations import StoredEvaluation
from telemetry.json_values import Json


class Metric(StrEnum):
    """What makes an example bad."""

    ERROR = "error"
    LOSS = "loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A group of examples against the rest.

    Attributes:
        conditions: (column, level) of each, all of which hold.
        where: The same as an SQL condition over the examples.
        n: Examples in it.
        value: Mean of the metric in it; with a base run, mean change.
        rest: The same outside it.
        ci_low: Lower end of the 95 % interval of value less rest.
        ci_high: Upper end.
        p: Of "no worse than the rest", one-sided.
        q: p corrected for the number of tests.
        log_p: Natural logarithm of p, which may be too small for a number.
        examples: Ids of its worst examples.
    """

    conditions: tuple[tuple[str, str], ...]
    where: str
    n: int
    value: float
    rest: float
    ci_low: float
    ci_high: float
    p: float
    q: float
    log_p: float
    examples: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The conditions as text."""
        return " and ".join(_condition(column, level) for column, level in self.conditions)

    def to_json(self) -> Mapping[str, Json]:
        """An entry of `slices --json`."""
        return {
            "slice": [list(condition) for condition in self.conditions],
            "where": self.where,
            "n": self.n,
            "value": self.value,
            "rest": self.rest,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "p": self.p,
            "q": self.q,
            "examples": list(self.examples),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Outcome of `find` or `measure`.

    Attributes:
        evaluation: Whose examples; with a base, the candidate's.
        base: What the examples are compared with, if anything.
        metric: What was judged.
        n: Examples judged.
        overall: Mean of the metric; with a base, mean change.
        tested: Groups that were tested.
        n_found: Groups that are significantly worse, those among them that say the same included.
        q: Share of false finds that was allowed.
        slices: What is found, the surest first; what was asked for, when one was measured.
        measured: Whether one group was asked for, and not searched.
        confirmed: Whether the numbers come from examples that took no part in the search.
        telling: Columns that tell whether an answer is right, and so explain nothing.
        warnings: What was left out, and why.
    """

    evaluation: StoredEvaluation
    base: StoredEvaluation | None
    metric: Metric
    n: int
    overall: float
    tested: int
    n_found: int
    q: float
    slices: tuple[Slice, ...]
    measured: bool = False
    confirmed: bool = False
    telling: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_worse(self) -> bool:
        """Whether any group is worse than the rest."""
        return self.n_found > 0

    @property
    def answer(self) -> str:
        """The outcome in one sentence."""
        if self.measured:
            return self._measured_answer()
        if not self.slices:
            since = f" since {self.base.run.name}" if self.base else ""
            verb = "became" if self.base else "is"
            return (
                f"no group of examples {verb} worse than the rest{since}; {self.tested} groups "
                "were tested"
            )
        worst = self.slices[0]
        return (
            f"worst where {worst.title}: {self.unit} {self.number(worst.value)} on {worst.n} "
            f"examples, {self.number(worst.rest)} on the rest"
        )

    def _measured_answer(self) -> str:
        (found,) = self.slices
        verdict = "is worse than" if self.is_worse else "is not worse than"
        return (
            f"where {found.title} {verdict} the rest: {self.unit} {self.number(found.value)} on "
            f"{found.n} examples, {self.number(found.rest)} elsewhere"
        )

    @property
    def unit(self) -> str:
        """What the numbers are."""
        return f"{self.metric} change" if self.base else str(self.metric)

    def number(self, value: float) -> str:
        """One of the numbers as people read it."""
        if math.isnan(value):
            return "-"
        sign = "+" if self.base else ""
        return f"{100 * value:{sign}.1f} %" if self.metric is Metric.ERROR else f"{value:{sign}.4g}"

    def interval(self, found: Slice) -> str:
        """The 95 % interval of slice less rest as people read it."""
        low, high = found.ci_low, found.ci_high
        if self.metric is Metric.ERROR:
            return f"{100 * low:+.1f} .. {100 * high:+.1f} %"
        return f"{low:+.3g} .. {high:+.3g}"

    def to_json(self) -> dict[str, Json]:
        """Body of `slices --json`."""
        return {
            "verb": "slices",
            "run": self.evaluation.run.run,
            "eval_id": self.evaluation.eval_id,
            "dataset": self.evaluation.dataset,
            "checkpoint": self.evaluation.checkpoint,
            "step": self.evaluation.step,
            "base": self.base.run.run if self.base else None,
            "metric": self.metric,
            "n": self.n,
            "overall": self.overall,
            "tested": self.tested,
            "n_found": self.n_found,
            "q": self.q,
            "measured": self.measured,
            "confirmed": self.confirmed,
            "slices": [found.to_json() for found in self.slices],
            "telling": list(self.telling),
            "answer": self.answer,
            "warnings": list(self.warnings),
        }


def _condition(column: str, level: str) -> str:
    if not column:
        return level
    return f"{column} {level}" if level.startswith(("<", ">=")) else f"{column} = {level}"
