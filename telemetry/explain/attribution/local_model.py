"""Whether the linear model of LIME may be believed: does it foretell, and is it the same again?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from telemetry.explain.attribution.checks import SIMILAR
from telemetry.explain.attribution.methods import Problem
from telemetry.explain.results.check import EMPTY, Check

FITS, HARDLY_FITS = 0.8, 0.5  # R2 of the local model on samples of its own
FRESH_SAMPLES = 300
KERNEL_WIDTH = 0.25
RANKED = 5  # segments whose evidence is compared
NEGLIGIBLE = 0.01  # of all evidence for and against


def local_fit(
    problem: Problem, coefficients: Tensor, references: Sequence[Tensor], seed: int
) -> Check:
    """How well the linear model foretells samples it was not made from: weighted R2.

    Args:
        problem: The input.
        coefficients: Of the segments, shape (n_segments,).
        references: What the model was made with.
        seed: Of the samples.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    kept = torch.rand(FRESH_SAMPLES, len(coefficients), generator=generator) < 0.5  # noqa: PLR2004 - as LIME draws
    scores = problem.mixed_scores(kept, references).mean(1)
    distance = 1 - kept.float().mean(1).sqrt()
    weights = torch.exp(-((distance / KERNEL_WIDTH) ** 2))
    weights = weights / weights.sum()
    residual = scores - kept.float() @ coefficients.float()
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


def stability(maps: Sequence[Tensor], names: Sequence[str]) -> Check:
    """The evidence lies on the same parts with other draws: least weighted Jaccard index.

    Of each map the five strongest parts count, for the score or against it, each by the evidence it
    holds: shared over united evidence, the sum of minima over the sum of maxima. Where one part
    holds all, the others among the five are noise and weigh as little; where evidence is spread,
    five equal parts that change places count as in the index of sets. The part that speaks most for
    the score must be the same, unless what speaks for it is negligible.

    Args:
        maps: Of one question with other draws, shape (n_segments,) each.
        names: Of the segments.
    """
    tops = [_evidence(values) for values in maps]
    value = min(
        float(torch.minimum(tops[0], other).sum())
        / max(float(torch.maximum(tops[0], other).sum()), EMPTY)
        for other in tops[1:]
    )
    firsts = sorted({int(values.argmax()) for values in maps if _has_first(values)})
    meaning = "other random samples give other parts: increase --samples"
    if value >= SIMILAR:
        equals = " and ".join(names[first] for first in firsts)
        meaning = f"{equals} are too close to rank: other random samples give another order"
    return Check(
        name="stability",
        value=value,
        threshold=SIMILAR,
        ok=value >= SIMILAR and len(firsts) <= 1,
        meaning=meaning,
    )


def unstable_signs(maps: Sequence[Tensor]) -> Tensor:
    """Segments whose sign differs between draws, bool, shape (n_segments,)."""
    signs = torch.stack([values.sign() for values in maps])
    return (signs != signs[0]).any(0)


def _evidence(values: Tensor) -> Tensor:
    """What the five strongest parts hold, with its sign in two halves; zero for the others."""
    strongest = values.abs().topk(min(RANKED, len(values))).indices
    found = torch.zeros_like(values)
    found[strongest] = values[strongest]
    return torch.cat([found.clamp_min(0), (-found).clamp_min(0)])


def _has_first(values: Tensor) -> bool:
    """Whether the part that speaks most for the score is more than negligible."""
    return bool(values.max() >= NEGLIGIBLE * values.abs().sum())
