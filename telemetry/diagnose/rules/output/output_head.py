"""The last operation of the model cannot give the answers that the loss asks for.

Symptom: on every sampled step a softmax over a single unit stands before the loss, whose answer is
always 1; or outputs of shape (N, 1) meet targets of shape (N), each output every target; or at
least a twentieth of the targets is outside of what the last ReLU, sigmoid or tanh can return; or
class scores leave the model through one of these, before the softmax of the loss.
Fix: one unit takes a sigmoid, two take a softmax; give outputs and targets the same shape; end a
regression with a linear layer, or scale the targets into the range; end a classifier with its
linear layer.
Not flagged: targets in the range (an autoencoder with a sigmoid and pixels in [0, 1], a ReLU and
counts); a ReLU before class scores in a run that learns; scores that are multiplied after their
tanh; soft targets of another network; all pairs that a loss makes on purpose, by an added
dimension; softmaxes inside the model; a head that stands before one of several losses is a warning.
Source: Humbatova et al., arXiv:1910.11015; the ranges are those of the functions.
"""

from collections.abc import Iterator

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.loss_pairs import NOT_FOLLOWED, LossPair, Measure, loss_pairs
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example, number
from telemetry.format.loss_operations import DIFFERENCES, INDEXED
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
    CAST(COALESCE(g.is_broadcast, FALSE) AS INTEGER) AS is_broadcast,
    CAST(COALESCE(g.is_made, FALSE) AS INTEGER) AS is_made,
    g.output_shape,
    g.target_shape,
    g.excluded_share,
    g.target_min,
    g.target_max
FROM loss_graphs AS g
WHERE g.run = $run
    AND (g.operation IS NOT NULL OR g.single_softmax)
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
        *_broadcast(pairs),
        *_excluded(pairs, limits["excluded_share"]),
        *_bounded_scores(pairs),
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
    yield _candidate(
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


def _broadcast(pairs: list[LossPair]) -> Iterator[Candidate]:
    for pair in pairs:
        if not pair.holds("is_broadcast").all():
            continue
        outputs, targets = _shape(pair.output_shape), _shape(pair.target_shape)
        n = max(pair.target_shape)
        yield _candidate(
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


def _excluded(pairs: list[LossPair], limit: float) -> Iterator[Candidate]:
    for pair in pairs:
        if pair.operation not in DIFFERENCES or not pair.is_output or pair.is_made:
            continue
        share = float(np.nan_to_num(pair.numbers("excluded_share")).mean())
        if pair.head not in RANGES or share < limit:
            continue
        low, high = np.nanmin(pair.numbers("target_min")), np.nanmax(pair.numbers("target_max"))
        yield _candidate(
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


def _bounded_scores(pairs: list[LossPair]) -> Iterator[Candidate]:
    """Class scores want the whole line: what ends them takes the certainty or the gradient."""
    for pair in pairs:
        heads = set(pair.rows.texts("output_head"))
        if pair.operation not in INDEXED or pair.is_made or len(heads) != 1:
            continue
        (head,) = heads
        if head not in BOUNDED + HALVED:
            continue
        yield _candidate(
            pair,
            Size.CLEAR if head in BOUNDED else Size.SLIGHT,
            message=f"class scores leave the model through {head} ({RANGES[head]}), before the "
            "softmax of the loss"
            + (
                f": it can never be sure of a class of {pair.output_shape[-1]}"
                if head in BOUNDED
                else ": a class whose scores fall below 0 is not trained any more"
            ),
            advice=f"End the model with its linear layer, without {head}: cross_entropy takes "
            "scores of either sign.",
            measure=Measure(1.0, None, "share of the steps"),
            columns="step, path as layer, head, output_head, output_min, output_max",
        )


def _candidate(
    pair: LossPair,
    size: Size,
    *,
    message: str,
    advice: str,
    measure: Measure,
    columns: str,
) -> Candidate:
    return Candidate(
        strength=exact(size),
        message=message,
        advice=advice,
        layer=pair.layer,
        first_step=int(pair.steps[0]),
        last_step=int(pair.steps[-1]),
        value=measure.value,
        threshold=measure.limit,
        unit=measure.unit,
        earliest=0,
        evidence={
            "operation": pair.operation,
            "head": pair.head,
            "n_steps": len(set(pair.steps.tolist())),
            "query": example("loss_graphs", columns, where="pair is not null"),
        },
    )


def _shape(sizes: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"


DETECTOR = Detector(
    id=ID,
    title="the last operation of the model cannot give the answers",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={"excluded_share": EXCLUDED_SHARE},
    advice="Let the last operation return what the targets are, in their shape.",
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
