"""What a comparison of two models over hypotheses says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telemetry.compare.terms import Verdict
from telemetry.json_values import Json
from telemetry.store.runs.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One hypothesis under two models; numbers that do not exist are NaN.

    Attributes:
        hypothesis: Its name, '' for the plain data set.
        dataset: Name of the data set.
        metric: accuracy, mae, or loss, also where nothing says what is right.
        base_eval: Id of the base's evaluation.
        cand_eval: Id of the candidate's.
        n: Pairs of the same example.
        n_base_right_only: Examples that the base alone answers right; None for numbers.
        n_cand_right_only: Examples that the candidate alone answers right; None for numbers.
        base_value: Metric of the base over the pairs.
        cand_value: Metric of the candidate over the pairs.
        delta: Candidate less base.
        ci_low: Lower end of its 95 % interval.
        ci_high: Upper end.
        p_mcnemar: Whether these two checkpoints differ: exact McNemar, Wilcoxon for numbers.
        p_seed: Whether they differ more than two seeds do.
        p_combined: The larger of both.
        q_value: Corrected for the number of hypotheses.
        n_seeds: Seed runs behind p_seed.
        detectable_drop: Smallest change that would have been seen.
        verdict: By q_value and the sign of delta.
        reason: What the verdict rests on.
    """

    hypothesis: str
    dataset: str
    metric: str
    base_eval: str
    cand_eval: str
    n: int
    n_base_right_only: int | None
    n_cand_right_only: int | None
    base_value: float
    cand_value: float
    delta: float
    ci_low: float
    ci_high: float
    p_mcnemar: float
    p_seed: float
    p_combined: float
    q_value: float
    n_seeds: int
    detectable_drop: float
    verdict: Verdict
    reason: str

    @property
    def title(self) -> str:
        """What it is called on a screen."""
        return self.hypothesis or f"all of {self.dataset}"

    def to_json(self) -> Mapping[str, Json]:
        """An entry of `hypotheses compare --json`; null stands for a number that does not exist."""
        return {name: _known(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Outcome of `hypotheses.compare`; regressions first."""

    compare_id: str
    base: Run
    candidate: Run
    seeds: tuple[Run, ...]
    q: float
    results: tuple[Result, ...]
    warnings: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the results."""
        found = {result.verdict for result in self.results}
        for verdict in (Verdict.REGRESSION, Verdict.INCONCLUSIVE, Verdict.IMPROVEMENT):
            if verdict in found:
                return verdict
        return Verdict.NO_CHANGE if found else Verdict.INCONCLUSIVE

    @property
    def answer(self) -> str:
        """The outcome in one sentence."""
        by_verdict = {
            verdict: [r.title for r in self.results if r.verdict is verdict] for verdict in Verdict
        }
        worse, better = by_verdict[Verdict.REGRESSION], by_verdict[Verdict.IMPROVEMENT]
        unsure = by_verdict[Verdict.INCONCLUSIVE]
        parts = [
            *([f"worse on {_listed(worse)}"] if worse else []),
            *([f"better on {_listed(better)}"] if better else []),
            *([f"undecided on {_listed(unsure)}"] if unsure else []),
        ]
        said = "; ".join(parts) or "no hypothesis changed"
        return f"{self.candidate.name} against {self.base.name}: {said}"

    def to_json(self) -> dict[str, Json]:
        """Body of `hypotheses compare --json`."""
        return {
            "verb": "hypotheses.compare",
            "compare_id": self.compare_id,
            "base": self.base.run,
            "candidate": self.candidate.run,
            "seeds": [run.run for run in self.seeds],
            "n_seeds": len(self.seeds),
            "q": self.q,
            "verdict": self.verdict,
            "answer": self.answer,
            "results": [result.to_json() for result in self.results],
            "warnings": list(self.warnings),
        }


MAX_LISTED = 3


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_LISTED])
    return shown if len(names) <= MAX_LISTED else f"{shown} and {len(names) - MAX_LISTED} more"


def _known(value: Json) -> Json:
    return None if isinstance(value, float) and math.isnan(value) else value
