"""Whether an attribution may be believed: what every answer is held against before it is shown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from telemetry.explain.methods import (
    COMPLETENESS,
    LEAST_DIFFERENCE,
    MOST_STEPS,
    Problem,
)
from telemetry.explain.random_weights import with_random_weights
from telemetry.explain.relu_rule import RuleReport
from telemetry.explain.segments import Segments

SAME = 1e-6  # relative difference of two identical calls
EMPTY = 1e-12
CUTS = 24  # of the deletion curve
RANDOM_ORDERS = 5
REINITIALISATIONS = 5
SIMILAR = 0.5  # rank correlation with the map of a random model from which weights do not matter
FITS, HARDLY_FITS = 0.8, 0.5  # R2 of the local model of LIME on samples of its own
FRESH_SAMPLES = 300
TOP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: `value` against `threshold`, whether it passed, and what a failure means."""

    name: str
    value: float
    threshold: float
    ok: bool
    meaning: str


def determinism(first: Tensor, second: Tensor) -> Check:
    """Two identical calls give the same."""
    size = max(float(first.abs().max()), EMPTY)
    value = float((first - second).abs().max()) / size
    return Check(
        name="determinism",
        value=value,
        threshold=SAME,
        ok=value <= SAME,
        meaning="two identical calls differ: something in the model is random",
    )


def not_empty(values: Tensor, differences: Sequence[float]) -> Check:
    """Something is attributed, and the score depends on the input at all."""
    total = float(values.abs().sum())
    moves = max((abs(d) for d in differences), default=0.0)
    return Check(
        name="not_empty",
        value=min(total, moves),
        threshold=EMPTY,
        ok=total > EMPTY and moves > EMPTY,
        meaning="this score does not depend on this input through differentiable operations",
    )


def rule_saw_all(report: RuleReport) -> Check:
    """Every ReLU had the other derivative, and the output is what it was."""
    blind = report.missed if report.replaced else max(report.missed, 1)
    others = ", ".join(f"{count} {name}" for name, count in report.others.items())
    meaning = "ReLUs were run where the rule cannot see them, or there is none"
    if others:
        meaning += f"; {others} used their own derivative"
    return Check(
        name="rule_saw_all",
        value=float(blind),
        threshold=0.0,
        ok=blind == 0 and report.same_output,
        meaning=meaning,
    )


def completeness(totals: Sequence[float], differences: Sequence[float]) -> Check:
    """The values sum to the difference of the scores of input and baseline; the worst baseline."""
    value = max(
        abs(total - difference) / max(abs(difference), LEAST_DIFFERENCE)
        for total, difference in zip(totals, differences, strict=True)
    )
    return Check(
        name="completeness",
        value=value,
        threshold=COMPLETENESS,
        ok=value <= COMPLETENESS,
        meaning=f"the values do not sum to the score, not even with {MOST_STEPS} steps",
    )


def deletion(problem: Problem, per_segment: Tensor, baseline: Tensor, seed: int) -> Check:
    """Removing what matters most first lowers the score faster than any of five random orders.

    The score itself is followed, in shares of its whole fall: its probability saturates, and then
    no order differs from another.

    Source: Petsiuk, Das and Saenko 2018, arXiv:1806.07421.
    """
    order = per_segment.argsort(descending=True)
    own = _area(problem, order, baseline)
    generator = torch.Generator().manual_seed(seed)
    n = len(problem.segments)
    random = min(
        _area(problem, torch.randperm(n, generator=generator), baseline)
        for _ in range(RANDOM_ORDERS)
    )
    return Check(
        name="deletion",
        value=own,
        threshold=random,
        ok=own < random,
        meaning="removing the marked parts first changes the answer no faster than chance",
    )


def randomisation(
    explain: Callable[[nn.Module], Tensor], model: nn.Module, own: Tensor, support: Tensor
) -> Check:
    """The map of models with random weights is another: it depends on what was learnt.

    Args:
        explain: The map of another model.
        model: The explained one; it is copied.
        own: Its map.
        support: Where input and baseline differ, bool, of the map's shape.

    Source: Adebayo et al. 2018, arXiv:1810.03292; signed, and on the support only, because a map
    carries the factor x - x' whatever the weights.
    """
    correlations = []
    for seed in range(REINITIALISATIONS):
        other = with_random_weights(model, seed)
        correlations.append(rank_correlation(own[support], explain(other)[support]))
    value = abs(math.fsum(correlations) / len(correlations))
    return Check(
        name="randomisation",
        value=value,
        threshold=SIMILAR,
        ok=value < SIMILAR,
        meaning="a model with random weights gives much the same picture",
    )


def agreement(mine: Tensor, other: Tensor, names: Sequence[str]) -> Check:
    """The most important segment is among the three most important of another method."""
    best = int(mine.argmax())
    place = int((other > other[best]).sum()) + 1
    return Check(
        name="agreement",
        value=float(place),
        threshold=float(TOP),
        ok=place <= TOP,
        meaning=(
            f"methods disagree: {names[best]} here, {names[int(other.argmax())]} by occlusion"
        ),
    )


def local_fit(problem: Problem, coefficients: Tensor, baseline: Tensor, seed: int) -> Check:
    """How well the linear model of LIME foretells samples it was not made from: weighted R2."""
    generator = torch.Generator().manual_seed(seed + 1)
    kept = torch.rand(FRESH_SAMPLES, len(problem.segments), generator=generator) < 0.5  # noqa: PLR2004 - as LIME draws
    scores = scores_of(problem, kept, baseline)
    share = kept.float().mean(1)
    weights = torch.exp(-((1 - share.sqrt()) ** 2) / 0.25**2)
    predicted = kept.float() @ coefficients.float()
    weights = weights / weights.sum()
    residual = scores - predicted
    residual = residual - (weights * residual).sum()  # the intercept
    spread = scores - (weights * scores).sum()
    total = float((weights * spread**2).sum())
    value = 1 - float((weights * residual**2).sum()) / total if total > 0 else 0.0
    return Check(
        name="local_fit",
        value=value,
        threshold=FITS,
        ok=value >= HARDLY_FITS,
        meaning="the model is not locally linear in these parts",
    )


def stability(maps: Sequence[Tensor]) -> Check:
    """The five most important segments are the same with other draws: least Jaccard index."""
    tops = [set(values.topk(min(5, len(values))).indices.tolist()) for values in maps]
    value = min(len(tops[0] & other) / len(tops[0] | other) for other in tops[1:])
    same_first = len({int(values.argmax()) for values in maps}) == 1
    return Check(
        name="stability",
        value=value,
        threshold=SIMILAR,
        ok=value >= SIMILAR and same_first,
        meaning="other random samples give other parts: ask for more --samples",
    )


def scores_of(problem: Problem, kept: Tensor, baseline: Tensor) -> Tensor:
    """Scores of inputs that keep some segments, shape (n,) for masks (n, n_segments)."""
    found = []
    with torch.no_grad():
        for part in torch.split(kept, problem.batch):
            mixed = problem.segments.mixed(part, problem.values, baseline)
            found.append(problem.score(mixed).detach().cpu().float())
    return torch.cat(found)


def rank_correlation(left: Tensor, right: Tensor) -> float:
    """Spearman's; 0 where one of them does not vary."""
    ranks = [values.argsort().argsort().double() for values in (left.flatten(), right.flatten())]
    if len(ranks[0]) < 2 or float(left.std()) == 0 or float(right.std()) == 0:  # noqa: PLR2004
        return 0.0
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def support_of(values: Tensor, baselines: Sequence[Tensor], segments: Segments, n: int) -> Tensor:
    """Where an input differs from its baselines: of a map of n elements or of n segments."""
    differs = torch.stack([values != baseline for baseline in baselines]).any(0)
    if n == values.numel():
        return differs
    return segments.totals(differs.float()) > 0


def _area(problem: Problem, order: Tensor, baseline: Tensor) -> float:
    """Mean share of the score that is left while segments are replaced in an order."""
    n = len(order)
    cuts = sorted({round(n * cut / CUTS) for cut in range(CUTS + 1)})
    place = order.argsort()
    kept = torch.stack([place >= cut for cut in cuts])
    scores = scores_of(problem, kept, baseline).double()
    fall = float(scores[0] - scores[-1])
    if abs(fall) <= EMPTY:
        return 1.0
    curve = (scores - scores[-1]) / fall
    return float(torch.trapezoid(curve, torch.tensor(cuts, dtype=curve.dtype)) / max(n, 1))
