"""From pairs of answers to verdicts: two checkpoints, two seeds, and the number of questions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from telemetry.compare.terms import Verdict
from telemetry.errors import UsageError
from telemetry.evaluate.hypothesis_testing.hypothesis import ACCURACY
from telemetry.evaluate.hypothesis_testing.pairs import Pairs
from telemetry.evaluate.hypothesis_testing.result import Result
from telemetry.evaluate.statistics.paired import (
    DEFAULT_Q,
    MIN_SEEDS,
    benjamini_hochberg,
    bootstrap_interval,
    detectable_excess,
    discordant_needed,
    mcnemar_p,
    seed_detectable,
    seed_p,
    seed_spread,
    wilcoxon_p,
)

Floats = npt.NDArray[np.float64]

SMALL_N = 200  # examples below which few differing answers say nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How hypotheses are judged.

    Attributes:
        q: Allowed share of false finds among them.
        mid_p: Use the mid-p value of McNemar's test instead of the exact one.
        needs_seeds: Whether a difference must be larger than that of seeds; without, the question
            is about these two checkpoints alone.
    """

    q: float = DEFAULT_Q
    mid_p: bool = False
    needs_seeds: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: q is no share.
        """
        if not 0 < self.q < 1:
            raise UsageError(f"q is {self.q:g}, expected a share between 0 and 1, such as 0.05.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HypothesisQuestion:
    """One hypothesis with the answers of both models.

    Attributes:
        hypothesis: Name, '' for the plain data set.
        pairs: The same examples under both.
        metric: accuracy, loss or mae.
        values: That of each example under base and candidate, NaN where unknown; (2, n_pairs).
        seed_values: Mean of each seed run, NaN where unknown.
        min_size: Fewest examples.
    """

    hypothesis: str
    pairs: Pairs
    metric: str
    values: Floats
    seed_values: Floats
    min_size: int = 1


def judge_questions(questions: Sequence[HypothesisQuestion], rules: Rules) -> list[Result]:
    """A result for each question, corrected for their number, regressions first."""
    if not questions:
        return []
    level = rules.q / len(questions)
    measured = [_measured(question, rules, level) for question in questions]
    qs = benjamini_hochberg([_deciding_p(result, rules) for result in measured])
    judged = [
        _judged(replace(result, q_value=q), question, rules)
        for result, question, q in zip(measured, questions, qs, strict=True)
    ]
    order = list(Verdict)
    return sorted(judged, key=lambda r: (order.index(r.verdict), r.q_value, r.hypothesis))


def _measured(question: HypothesisQuestion, rules: Rules, level: float) -> Result:
    """Numbers of one question, before they are corrected and judged."""
    chosen = np.flatnonzero(np.isfinite(question.values).all(axis=0))
    base, candidate = question.values[:, chosen]
    difference = candidate - base
    n = int(difference.size)
    blank = _blank(question, n)
    if not n:
        return blank
    of_all = question.pairs.base.sources
    sources = [of_all[place] for place in chosen]
    low, high = bootstrap_interval(difference, sources)
    shares = question.metric == ACCURACY
    losses, gains = int((difference < 0).sum()), int((difference > 0).sum())
    p = mcnemar_p(losses, gains, mid_p=rules.mid_p) if shares else wilcoxon_p(difference)
    delta = float(difference.mean())
    seeds = question.seed_values[np.isfinite(question.seed_values)]
    n_seeds = int(seeds.size)
    spread = seed_spread(seeds, 1 / n if shares else 0.0) if n_seeds >= MIN_SEEDS else math.nan
    p_seed = math.nan if math.isnan(spread) else seed_p(delta, spread, n_seeds)
    limits = [detectable_excess(losses + gains, level) / n] if shares else []
    if rules.needs_seeds and not math.isnan(spread):
        limits.append(seed_detectable(spread, n_seeds, level))
    seen_from = max(limits, default=math.nan)
    return replace(
        blank,
        n_base_right_only=losses if shares else None,
        n_cand_right_only=gains if shares else None,
        base_value=float(base.mean()),
        cand_value=float(candidate.mean()),
        delta=delta,
        ci_low=low,
        ci_high=high,
        p_mcnemar=p,
        p_seed=p_seed,
        p_combined=p if math.isnan(p_seed) else max(p, p_seed),
        n_seeds=n_seeds,
        detectable_drop=math.nan if shares and seen_from > 1 else seen_from,  # not even all
    )


def _deciding_p(result: Result, rules: Rules) -> float:
    p = result.p_combined if rules.needs_seeds else result.p_mcnemar
    return 1.0 if math.isnan(p) else p


def _judged(result: Result, question: HypothesisQuestion, rules: Rules) -> Result:
    doubt = _doubt(result, question, rules)
    if doubt:
        return replace(result, verdict=Verdict.INCONCLUSIVE, reason=doubt)
    if result.q_value > rules.q:
        reason = "within chance or seed variation"
        return replace(result, verdict=Verdict.NO_CHANGE, reason=reason)
    is_worse = (result.delta > 0) == (result.metric != ACCURACY)
    verdict = Verdict.REGRESSION if is_worse else Verdict.IMPROVEMENT
    beyond = f" and beyond the variation of {result.n_seeds} seeds" if rules.needs_seeds else ""
    return replace(result, verdict=verdict, reason=f"beyond chance{beyond}")


def _doubt(result: Result, question: HypothesisQuestion, rules: Rules) -> str:
    """Why no verdict is possible, '' when one is."""
    if question.pairs.fault:
        return question.pairs.fault
    if not result.n:
        return "no example has a finite value on both sides"
    if result.n < question.min_size:
        return f"{result.n} examples; {question.min_size} are required"
    if result.metric == ACCURACY and result.n < SMALL_N:
        differing = (result.n_base_right_only or 0) + (result.n_cand_right_only or 0)
        needed = discordant_needed(DEFAULT_Q)
        if differing < needed:
            return (
                f"{differing} of {result.n} answers differ; at least {needed} are needed to decide"
            )
    if rules.needs_seeds and result.n_seeds < MIN_SEEDS:
        return f"no seed baseline: {result.n_seeds} of {MIN_SEEDS} required seed runs"
    return ""


def _blank(question: HypothesisQuestion, n: int) -> Result:
    return Result(
        hypothesis=question.hypothesis,
        dataset=question.pairs.base.evaluation.dataset,
        metric=question.metric,
        base_eval=question.pairs.base.evaluation.eval_id,
        cand_eval=question.pairs.candidate.evaluation.eval_id,
        n=n,
        n_base_right_only=None,
        n_cand_right_only=None,
        base_value=math.nan,
        cand_value=math.nan,
        delta=math.nan,
        ci_low=math.nan,
        ci_high=math.nan,
        p_mcnemar=math.nan,
        p_seed=math.nan,
        p_combined=math.nan,
        q_value=1.0,
        n_seeds=0,
        detectable_drop=math.nan,
        verdict=Verdict.INCONCLUSIVE,
        reason="",
    )
