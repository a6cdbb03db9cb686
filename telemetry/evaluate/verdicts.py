"""From pairs of answers to verdicts: two checkpoints, two seeds, and the number of questions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from telemetry.compare.diff_result import Verdict
from telemetry.errors import UsageError
from telemetry.evaluate.comparison import ACCURACY, LOSS, Result
from telemetry.evaluate.paired import (
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
from telemetry.evaluate.pairs import Pairs

Floats = npt.NDArray[np.float64]

SMALL_N = 200  # examples below which few differing answers say nothing
DEFAULT_Q = 0.05


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
class Question:
    """One hypothesis with the answers of both models.

    Attributes:
        hypothesis: Name, '' for the plain data set.
        pairs: The same examples under both.
        wants_loss: Whether the loss is compared although it is known what is right.
        seed_accuracies: Mean accuracy of each seed run, NaN where unknown.
        seed_losses: Mean loss of each.
        min_size: Fewest examples.
    """

    hypothesis: str
    pairs: Pairs
    wants_loss: bool
    seed_accuracies: Floats
    seed_losses: Floats
    min_size: int = 1


def judge_questions(questions: Sequence[Question], rules: Rules) -> list[Result]:
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


def _measured(question: Question, rules: Rules, level: float) -> Result:
    """Numbers of one question, before they are corrected and judged."""
    pairs = question.pairs
    right = 1 - pairs.base.errors, 1 - pairs.candidate.errors
    known = np.isfinite(right[0]) & np.isfinite(right[1])
    by_loss = question.wants_loss or not known.any()
    values = (pairs.base.rows.floats(LOSS), pairs.candidate.rows.floats(LOSS)) if by_loss else right
    seeds = question.seed_losses if by_loss else question.seed_accuracies
    chosen = np.isfinite(values[0]) & np.isfinite(values[1])
    base, candidate = values[0][chosen], values[1][chosen]
    difference = candidate - base
    n = int(difference.size)
    blank = _blank(question, LOSS if by_loss else ACCURACY, n)
    if not n:
        return blank
    sources = [s for s, is_chosen in zip(pairs.base.sources, chosen, strict=True) if is_chosen]
    low, high = bootstrap_interval(difference, sources)
    losses, gains = int((difference < 0).sum()), int((difference > 0).sum())
    p = wilcoxon_p(difference) if by_loss else mcnemar_p(losses, gains, mid_p=rules.mid_p)
    delta = float(difference.mean())
    seeds = seeds[np.isfinite(seeds)]
    resolution = 0.0 if by_loss else 1 / n
    spread = seed_spread(seeds, resolution) if seeds.size >= MIN_SEEDS else math.nan
    p_seed = math.nan if math.isnan(spread) else seed_p(delta, spread, int(seeds.size))
    limits = [] if by_loss else [detectable_excess(losses + gains, level) / n]
    if rules.needs_seeds and not math.isnan(spread):
        limits.append(seed_detectable(spread, int(seeds.size), level))
    return replace(
        blank,
        n_base_right_only=None if by_loss else losses,
        n_cand_right_only=None if by_loss else gains,
        base_value=float(base.mean()),
        cand_value=float(candidate.mean()),
        delta=delta,
        ci_low=low,
        ci_high=high,
        p_mcnemar=p,
        p_seed=p_seed,
        p_combined=p if math.isnan(p_seed) else max(p, p_seed),
        n_seeds=int(seeds.size),
        detectable_drop=max(limits, default=math.nan),
    )


def _deciding_p(result: Result, rules: Rules) -> float:
    p = result.p_combined if rules.needs_seeds else result.p_mcnemar
    return 1.0 if math.isnan(p) else p


def _judged(result: Result, question: Question, rules: Rules) -> Result:
    doubt = _doubt(result, question, rules)
    if doubt:
        return replace(result, verdict=Verdict.INCONCLUSIVE, reason=doubt)
    if result.q_value > rules.q:
        reason = "no more than chance or seeds explain"
        return replace(result, verdict=Verdict.NO_CHANGE, reason=reason)
    is_worse = (result.delta > 0) == (result.metric == LOSS)
    verdict = Verdict.REGRESSION if is_worse else Verdict.IMPROVEMENT
    beyond = f" and beyond {result.n_seeds} seeds" if rules.needs_seeds else ""
    return replace(result, verdict=verdict, reason=f"beyond chance{beyond}")


def _doubt(result: Result, question: Question, rules: Rules) -> str:
    """Why no verdict is possible, '' when one is."""
    if question.pairs.fault:
        return question.pairs.fault
    if not result.n:
        return "no example has a finite value on both sides"
    if result.n < question.min_size:
        return f"{result.n} examples, {question.min_size} are asked for"
    if result.metric == ACCURACY and result.n < SMALL_N:
        differing = (result.n_base_right_only or 0) + (result.n_cand_right_only or 0)
        needed = discordant_needed(DEFAULT_Q)
        if differing < needed:
            return f"{differing} of {result.n} answers differ; fewer than {needed} say nothing"
    if rules.needs_seeds and result.n_seeds < MIN_SEEDS:
        return f"no seed baseline: {result.n_seeds} of {MIN_SEEDS} seed runs"
    return ""


def _blank(question: Question, metric: str, n: int) -> Result:
    return Result(
        hypothesis=question.hypothesis,
        dataset=question.pairs.base.evaluation.dataset,
        metric=metric,
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
