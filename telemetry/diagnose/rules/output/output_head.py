"""The last operation of the model cannot give the answers that the loss asks for.

Symptom: on every sampled step a softmax over a single unit stands before the loss, whose answer is
always 1; or a softmax adds up to 1 over another dimension than that of the classes; or at least a
twentieth of the targets is outside of what the last ReLU, sigmoid or tanh can return, or does not
add up to 1 where a softmax does; or class scores leave the model through one of these, before the
softmax of the loss; or the loss takes exp of what cannot be negative, such as the log-variance that
a ReLU returns: exp of it is never below 1.
Fix: one unit takes a sigmoid, two take a softmax; end a regression with a linear layer, or scale
the targets into the range; end a classifier, and the mean and log-variance of a latent, with their
linear layers.
Not flagged: targets in the range (an autoencoder with a sigmoid and pixels in [0, 1], a ReLU and
counts); scores that are multiplied after their tanh; masks of several right answers beside the
logarithm of a softmax; soft targets of another network; softmaxes inside the model; a head that
stands before one of several losses is a warning.
Source: Humbatova et al., arXiv:1910.11015; the ranges are those of the functions.
"""

from collections.abc import Iterator

import numpy as np

from telemetry.diagnose.analyses.pair_candidates import pair_candidate
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.loss_chains import LossChain, loss_chains
from telemetry.diagnose.evidence.loss_pairs import NOT_FOLLOWED, LossPair, Measure, loss_pairs
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example, number
from telemetry.format.loss_operations import BINARY, DIFFERENCES
from telemetry.store.sessions.rows import Rows

ID = "output_head"
EXCLUDED_SHARE = 0.05  # of the targets: fewer are outliers
MOST_SHARE = 0.5  # more of them than not
RANGES = {
    "log_softmax": "at most 0",
    "relu": "at least 0",
    "sigmoid": "0 to 1",
    "softmax": "0 to 1",
    "softplus": "above 0",
    "tanh": "-1 to 1",
}
BOUNDED = ("sigmoid", "tanh")  # no score is far above another
HALVED = ("relu", "softplus")  # a class whose score is 0 for all examples has no gradient
OF_CLASSES = ("softmax", "log_softmax", "logsumexp")
NOT_NEGATIVE = ("exp", "relu", "sigmoid", "softplus")
MIN_STEPS = 3

SQL = """
SELECT
    g.step,
    g.path AS layer,
    g.operation,
    g.head,
    g.output_head,
    CAST(COALESCE(g.single_softmax, FALSE) AS INTEGER) AS single_softmax,
    CAST(COALESCE(g.is_output, FALSE) AS INTEGER) AS is_output,
    CAST(COALESCE(g.is_made, FALSE) AS INTEGER) AS is_made,
    g.output_shape,
    g.target_shape,
    g.excluded_share,
    g.unequal_rows_share,
    CAST(COALESCE(g.is_other_axis, FALSE) AS INTEGER) AS is_other_axis,
    g.target_min,
    g.target_max,
    g.chains
FROM loss_graphs AS g
WHERE g.run = $run
    AND (g.operation IS NOT NULL OR g.single_softmax OR g.chains IS NOT NULL)
ORDER BY g.step, g.call, g.pair
LIMIT 4000
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Each fact that holds on every sampled step."""
    del context
    if not len(rows):
        return NotChecked(detector=ID, reason=NOT_FOLLOWED, absent=True)
    pairs = [pair for pair in loss_pairs(rows) if len(set(pair.steps.tolist())) >= MIN_STEPS]
    found = [
        *_single_softmax(pairs or _unpaired(rows)),
        *_over_other_axis(pairs),
        *_unequal_rows(pairs, limits["excluded_share"]),
        *_excluded(pairs, limits["excluded_share"]),
        *_of_chains(loss_chains(rows)),
    ]
    return found or None


def _unpaired(rows: Rows) -> list[LossPair]:
    """Losses in which no target of several numbers was seen, as of one example at a time."""
    if len(set(rows.ints("step").tolist())) < MIN_STEPS:
        return []
    return [
        LossPair(
            path="",
            operation="",
            head="softmax",
            is_output=True,
            is_made=False,
            output_shape=(),
            target_shape=(),
            rows=rows,
        )
    ]


def _single_softmax(pairs: list[LossPair]) -> Iterator[Candidate]:
    held = [pair for pair in pairs if pair.holds("single_softmax").all()]
    if not held:
        return
    pair = held[0]
    yield pair_candidate(
        pair,
        Size.TOTAL if len(pairs) == 1 else Size.CLEAR,
        message=f"a softmax over a single unit stands between {pair.subject} and the loss: it "
        "gives every example the probability 1",
        advice="Give the last layer one unit per class, or use a sigmoid (and "
        "binary_cross_entropy_with_logits without it) for one unit. Check the `dim` of the "
        "softmax as well.",
        measure=Measure(1.0, 2.0, "units"),
        columns="step, path as layer, head, output_spread, output_max",
    )


def _over_other_axis(pairs: list[LossPair]) -> Iterator[Candidate]:
    for pair in pairs:
        if not pair.holds("is_other_axis").all():
            continue
        sizes = " x ".join(map(str, pair.output_shape))
        yield pair_candidate(
            pair,
            Size.FAR,
            message=f"the softmax of {pair.subject} ({sizes}) adds up to 1 over another dimension "
            "than that of the classes: an example has no shares of classes",
            advice="Set `dim` of the softmax to the dimension of the classes: 1 of (N, C) and of "
            "(N, C, H, W).",
            measure=Measure(1.0, None, "share of the steps"),
            columns="step, path as layer, n, head, output_shape, is_other_axis",
        )


def _unequal_rows(pairs: list[LossPair], limit: float) -> Iterator[Candidate]:
    """Several labels an example, or none, and shares that add up to 1."""
    for pair in pairs:
        share = float(np.nan_to_num(pair.numbers("unequal_rows_share")).mean())
        is_dense = pair.operation in BINARY | DIFFERENCES and pair.is_output and not pair.is_made
        if not is_dense or share < limit or pair.holds("is_other_axis").any():
            continue
        yield pair_candidate(
            pair,
            Size.CLEAR,
            message=f"{share:.0%} of the targets cannot be answered: the softmax of {pair.subject} "
            f"adds up to 1, and they do not (limit {limit:.0%})",
            advice="Use a sigmoid where an example may have several labels or none, and no softmax "
            "for other values.",
            measure=Measure(share, limit, "share"),
            columns="step, path as layer, head, unequal_rows_share, target_min, target_max",
        )


def _excluded(pairs: list[LossPair], limit: float) -> Iterator[Candidate]:
    for pair in pairs:
        if pair.operation not in DIFFERENCES or not pair.is_output or pair.is_made:
            continue
        share = float(np.nan_to_num(pair.numbers("excluded_share")).mean())
        if pair.head not in RANGES or share < limit:
            continue
        low, high = np.nanmin(pair.numbers("target_min")), np.nanmax(pair.numbers("target_max"))
        yield pair_candidate(
            pair,
            Size.FAR if share >= MOST_SHARE else Size.CLEAR,
            message=f"{share:.0%} of the targets cannot be answered: {pair.subject} ends with "
            f"{pair.head} ({RANGES[pair.head]}), and targets go from {number(low)} to "
            f"{number(high)} (limit {limit:.0%})",
            advice=f"End the model with its linear layer, without {pair.head}, or scale the "
            f"targets into its range, {RANGES[pair.head]}.",
            measure=Measure(share, limit, "share"),
            columns="step, path as layer, head, excluded_share, target_min, target_max",
        )


def _of_chains(chains: list[LossChain]) -> Iterator[Candidate]:
    """Heads before functions that want the whole line."""
    for chain in chains:
        for head, function in chain.pairs():
            if head in BOUNDED + HALVED and function in OF_CLASSES:
                yield _bounded_scores(chain, head)
            elif head in NOT_NEGATIVE and function == "exp":
                yield _of_chain(
                    chain,
                    Size.CLEAR,
                    message=f"the loss takes exp of {chain.subject}, which {head} keeps at or "
                    "above 0: a variance or scale that is made so is never below 1",
                    advice=f"Return it from a linear layer, without {head}: the logarithm of a "
                    "variance may be negative, and so may the mean of a latent.",
                )


def _bounded_scores(chain: LossChain, head: str) -> Candidate:
    """Class scores want the whole line: what ends them takes the certainty or the gradient."""
    return _of_chain(
        chain,
        Size.CLEAR,
        message=f"class scores leave the model through {head} ({RANGES[head]}), before the "
        "softmax of the loss"
        + (
            ": it can never be sure of a class"
            if head in BOUNDED
            else ": a class whose scores fall below 0 is not trained any more"
        ),
        advice=f"End the model with its linear layer, without {head}: cross_entropy takes "
        "scores of either sign.",
    )


def _of_chain(chain: LossChain, size: Size, *, message: str, advice: str) -> Candidate:
    return Candidate(
        strength=exact(size),
        message=message,
        advice=advice,
        layer=chain.layer,
        first_step=chain.first_step,
        last_step=chain.last_step,
        value=float(chain.n_steps),
        threshold=float(MIN_STEPS),
        unit="samples",
        earliest=0,
        evidence={
            "chain": list(chain.steps),
            "query": example("loss_graphs", "step, chains, head, output_min, output_max"),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the last operation of the model cannot give the answers",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={"excluded_share": EXCLUDED_SHARE},
    advice="Let the last operation return what the targets are.",
    source="arXiv:1910.11015",
    judge=judge,
    causes=(
        "class_collapse",
        "constant_predictor",
        "dead_units",
        "learning_rate_too_low",
        "loss_not_decreasing",
        "poor_initialization",
        "saturated_units",
        "unchanged_parameters",
        "vanishing_gradient",
    ),
    shown=Shown(
        normal="A sigmoid before probabilities, a linear layer before numbers of either sign, one "
        "unit per class before a softmax.",
    ),
)
