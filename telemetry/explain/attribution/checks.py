"""Whether an attribution may be believed: what every answer is held against before it is shown."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from telemetry.explain.attribution.methods import (
    COMPLETENESS,
    LEAST_DIFFERENCE,
    MOST_STEPS,
)
from telemetry.explain.inputs.segments import Segments
from telemetry.explain.models.random_weights import mirrored, with_random_weights
from telemetry.explain.results.check import EMPTY, Check

LEAST_MODELS = 5  # with random weights
RANDOM_ERROR = 1 / 6  # standard error of a mean rank correlation, a third of the limit
SIMILAR = 0.5  # rank correlation with the map of a random model from which weights do not matter
TOP = 3


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


def completeness(
    totals: Sequence[float], differences: Sequence[float], half: torch.dtype | None = None
) -> Check:
    """The values sum to the difference of the scores of input and baseline; the worst baseline.

    Args:
        totals: Sums of the values.
        differences: What they should be.
        half: Type of weights of fewer than 32 bits, whose rounding may be what is missing.
    """
    value = max(
        abs(total - difference) / max(abs(difference), LEAST_DIFFERENCE)
        for total, difference in zip(totals, differences, strict=True)
    )
    return Check(
        name="completeness",
        value=value,
        threshold=COMPLETENESS,
        ok=value <= COMPLETENESS,
        meaning=f"the values do not sum to the score, {_why_not(half)}",
    )


def _why_not(half: torch.dtype | None) -> str:
    steps = f"even with {MOST_STEPS} steps"
    if half is None:
        return steps
    name = str(half).removeprefix("torch.")
    return (
        f"{steps}; the model computes in {name} and its rounding errors add up: load it in float32"
    )


def randomisation(
    explain: Callable[[nn.Module], Tensor],
    model: nn.Module,
    own: Tensor,
    support: Tensor,
    layers: Sequence[str],
    *,
    has_head_stage: bool = True,
) -> Check:
    """The map of models with random weights is another: it depends on what was learnt.

    Weights are drawn again in the output layer alone, and in the whole model: a map that merely
    passes structure of the input survives the first. An output layer and its mirror image are
    equally likely, and turn the sign of a map round: every other draw is the mirror image of the
    one before, so that chance of the signs does not decide. One output has nothing but such a sign
    where all that it reads says the same, as of a leak: there the first is not asked, nor where the
    output layer is the whole model.

    What lies between, the cascade from the output layer downwards, is asked about only where the
    output layer has failed, to say how deep the map stays the same. It decides nothing: of 36 maps
    of nine networks (benchmarks/explain/cascade.py) the 15 that fail in any stage fail in the
    first, their correlation falls with every layer (guided: 0.90, 0.86, 0.80, 0.75, 0.61, 0.42),
    and of maps that pass the largest of more stages is noise. A stage costs five runs of the
    method: 640 gradients of `ig` with two baselines.

    Args:
        explain: The map of another model.
        model: The explained one; it is copied.
        own: Its map.
        support: Where input and baseline differ, bool, of the map's shape.
        layers: Names of the layers as they run, up to the last that the score depends on; empty:
            not known.
        has_head_stage: Whether the output layer alone is asked about.

    Source: Adebayo et al. 2018, arXiv:1810.03292; signed, and on the support only, because a map
    carries the factor x - x' whatever the weights.
    """

    def similarity(drawn: Sequence[str] | None) -> float:
        n_models = random_models(int(support.sum()))
        others = (_drawn(model, place, drawn, layers[-1:]) for place in range(n_models))
        found = [rank_correlation(own[support], explain(other)[support]) for other in others]
        return abs(math.fsum(found) / len(found))

    whole = similarity(None)
    last = similarity(layers[-1:]) if len(layers) > 1 and has_head_stage else 0.0
    upper = layers[len(layers) // 2 :]
    which = "a random output layer"
    if whole >= SIMILAR:
        which = "random weights"
    elif last >= SIMILAR and len(upper) > 1 and similarity(upper) >= SIMILAR:
        which = f"random weights from the output layer down to {upper[0]}"
    return Check(
        name="randomisation",
        value=max(whole, last),
        threshold=SIMILAR,
        ok=max(whole, last) < SIMILAR,
        meaning=f"a model with {which} gives nearly the same picture",
    )


def _drawn(
    model: nn.Module, place: int, layers: Sequence[str] | None, head: Sequence[str]
) -> nn.Module:
    """The random model of a place; at odd ones that before it with the output layer mirrored."""
    if not head:  # nothing can be mirrored: each place is a draw of its own
        return with_random_weights(model, place, layers)
    other = with_random_weights(model, place // 2, layers)
    return mirrored(other, head[0]) if place % 2 else other


def random_models(n: int) -> int:
    """How many models with random weights tell whether n values are ranked alike.

    Rank correlations of n values in random order have a variance of 1 / (n - 1), so that a mean
    over five of them is often beyond the limit where n is small.
    """
    if n <= 1:  # no order at all
        return LEAST_MODELS
    return max(LEAST_MODELS, math.ceil(1 / (RANDOM_ERROR**2 * (n - 1))))


def agreement(place: int, meaning: str) -> Check:
    """The most important segment is among the three most important of another method.

    Args:
        place: Its place there, from 1 on.
        meaning: What both say.
    """
    return Check(
        name="agreement",
        value=float(place),
        threshold=float(TOP),
        ok=place <= TOP,
        meaning=meaning,
    )


def rank_correlation(left: Tensor, right: Tensor) -> float:
    """Spearman's rank correlation; 0 where one of the two is constant."""
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
