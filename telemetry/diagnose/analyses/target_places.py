"""Whether outputs meet the targets of their own places, and targets that say something."""

from collections.abc import Iterator, Sequence

import numpy as np

from telemetry.diagnose.analyses.pair_candidates import pair_candidate
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.evidence.loss_pairs import LossPair, Measure, shape_in_words
from telemetry.diagnose.judgement.severity import Size

LEAST_SHARE = 0.5  # of the batches: in one of few rows padding does not show
ORDERS = {
    "split": (
        (
            "is viewed as rows of its second dimension: a row holds scores of several places, and "
            "meets the target of another one"
        ),
        (
            "Move the classes to the end before the view, as in "
            "out.permute(0, 2, 3, 1).reshape(-1, C), or give cross_entropy (N, C, ...) as it is."
        ),
    ),
    "transposed": (
        (
            "is flattened over time and batch, and the targets over batch and time: outputs meet "
            "the targets of other sequences"
        ),
        ("Bring both into one order before they are flattened: targets.T, or out.transpose(0, 1)."),
    ),
}


def crossing(pairs: Sequence[LossPair]) -> Iterator[Candidate]:
    """Each output meets every target, by shapes that broadcast."""
    for pair in pairs:
        if not pair.holds("is_broadcast").all():
            continue
        outputs, targets = shape_in_words(pair.output_shape), shape_in_words(pair.target_shape)
        n = max(pair.target_shape)
        yield pair_candidate(
            pair,
            Size.TOTAL if len(pairs) == 1 else Size.FAR,
            message=f"{pair.subject} of shape {outputs} meets targets of shape {targets}: the loss "
            f"compares each of {n} outputs with each of {n} targets",
            advice=f"Give outputs and targets the same shape: {outputs} and {targets} broadcast to "
            "all pairs, and the best the model can do is to predict the mean of the targets. "
            "Use out.squeeze(1) or target.unsqueeze(1).",
            measure=Measure(float(n), 1.0, "targets"),
            columns="step, path as layer, output_shape, target_shape, n",
        )


def in_other_order(pairs: Sequence[LossPair]) -> Iterator[Candidate]:
    """Outputs meet the targets of other places."""
    for pair in pairs:
        told = pair.rows.texts("misaligned")
        kind = told[-1] or ""
        if kind not in ORDERS or set(told) != {kind}:
            continue
        shape = shape_in_words(pair.output_shape)
        message, advice = ORDERS[kind]
        yield pair_candidate(
            pair,
            Size.TOTAL,
            message=f"{pair.subject} of shape {shape} {message}",
            advice=advice,
            measure=Measure(1.0, None, "share of the steps"),
            columns="step, path as layer, n, output_shape, target_shape, misaligned",
        )


def padded(pairs: Sequence[LossPair], limit: float) -> Iterator[Candidate]:
    """Targets of which this share or more only fill up sequences, and count."""
    for pair in pairs:
        index, share = pair.numbers("padding_index"), pair.numbers("padding_share")
        known = np.isfinite(index)
        if known.mean() < LEAST_SHARE or np.ptp(index[known]) or share[known].mean() < limit:
            continue
        filling, usual = int(index[known][0]), float(share[known].mean())
        yield pair_candidate(
            pair,
            Size.FAR,
            message=f"{usual:.0%} of the targets are class {filling}, which fills up the ends of "
            f"sequences, and {pair.function} counts them (limit {limit:.0%}): the loss falls by "
            "learning to pad",
            advice=f"Pass ignore_index={filling}, or mean the loss over the places that are no "
            "padding.",
            measure=Measure(usual, limit, "share"),
            columns="step, path as layer, padding_index, padding_share, root",
        )
