"""Probabilities are given where scores are expected, or scores where probabilities are.

Symptom: a softmax stands directly before cross_entropy, which applies its own: the loss cannot fall
below ln(1 + (C - 1)/e). Or nll_loss is given values whose exponentials add up to more than one, raw
logits or probabilities: the loss falls without bound and says nothing. Or a sigmoid stands before
binary_cross_entropy_with_logits, whose loss then stays above 0.31; one outside of the model shows
in values that reach both ends of (0, 1) and never leave it. In a loss that is written by hand:
a softmax or sigmoid of probabilities; the logarithm of what a linear layer returns; a sum of raw
scores that is divided by, as in a dice loss, which may be zero; raw scores or probabilities in
ctc_loss or kl_div, which take logarithms. Or a linear layer reads the softmax of the one before.
Fix: remove the softmax or sigmoid, or use nll_loss(log_softmax(x)) or binary_cross_entropy; take
the softmax or sigmoid once, directly before a loss of probabilities.
Not flagged: soft targets, which are probabilities by design; a softmax elsewhere, as in attention,
or one that is scaled before the loss; one with noise, a temperature or a skip around it between
layers; log-probabilities that leave mass out; quotients of squares or norms; log_softmax before
cross_entropy changes nothing and is information.
Source: Humbatova et al., arXiv:1910.11015; Zhang et al., arXiv:2005.00972.

No gate of progress: such a run learns, slowly, towards a worse end.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.loss_chains import LossChain, loss_chains
from telemetry.diagnose.evidence.network import Network
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import BoolArray, IntArray
from telemetry.diagnose.judgement.severity import Size, Strength, exact, measured
from telemetry.diagnose.wording import example
from telemetry.json_values import json_integer, json_list, json_object, parsed_object
from telemetry.store.sessions.rows import Rows

ID = "softmax_into_cross_entropy"
MIN_SAMPLES = 3
ROW_SUM_LIMIT = 0.01  # bfloat16 probabilities, summed in bfloat16, miss 1 by at most 2^-8 = 0.004
EXCESS_LIMIT = 0.1  # nats; clamps and rounding of log-probabilities reach 0.01, ln C is 0.69
SAME_NATS = 1e-3  # of log-probabilities in float32
NEAR_END = 0.1  # of the unit interval
MIN_CLASSES = 2  # of a single class, softmax gives 1 whatever was meant

# A sigmoid whose output has the extremes of the loss's input is what the loss was given.
SQL = """
WITH bounded AS (
    SELECT r.step, MIN(r.min) AS low, MAX(r.max) AS high
    FROM module_numbers AS r
    JOIN modules AS m
        ON m.run = r.run
        AND m.module_id = r.module_id
    WHERE r.run = $run
        AND r.phase = 'train'
        AND (r.site LIKE 'sigmoid#%' OR (r.site = 'output' AND m.type = 'Sigmoid'))
    GROUP BY r.step, r.module_id, r.site
)
SELECT
    'given' AS what,
    r.step,
    r.loss_op AS op,
    MAX(r.row_sum_error) AS row_sum_error,
    MAX(r.log_partition) AS log_partition,
    MAX(CASE WHEN b.low > 0 THEN 1 ELSE 0 END) AS is_sigmoid,
    MIN(r.min) AS low,
    MAX(r.max) AS high
FROM module_numbers AS r
LEFT JOIN bounded AS b
    ON b.step = r.step
    AND b.low = r.min
    AND b.high = r.max
WHERE r.run = $run
    AND r.phase = 'train'
    AND r.site = 'logits'
    AND r.loss_op IS NOT NULL
    AND r.n_units >= $min_classes
GROUP BY r.step, r.loss_op
UNION ALL
SELECT DISTINCT 'chain', g.step, g.chains, NULL, NULL, NULL, NULL, NULL
FROM loss_graphs AS g
WHERE g.run = $run
UNION ALL
SELECT 'between', e.step, e.payload, NULL, NULL, NULL, NULL, NULL
FROM events AS e
WHERE e.run = $run AND e.kind = 'softmax_between_layers'
ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mistake:
    """One way to feed a loss wrongly; `kind` is the type of the module that does it."""

    op: str
    strength: Strength
    message: str
    advice: str
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chained:
    """One way to chain functions wrongly: any of the first, then any of the second."""

    first: frozenset[str]
    second: frozenset[str]
    size: Size
    message: str
    advice: str

    def holds(self, chain: LossChain) -> bool:
        return any(a in self.first and b in self.second for a, b in chain.pairs())


SHARES = frozenset({"softmax", "sigmoid"})
CHAINED = (
    _Chained(
        first=frozenset({"softmax"}),
        second=frozenset({"softmax", "log_softmax", "logsumexp", "exp"}),
        size=Size.TOTAL,
        message="a second softmax is taken of the probabilities of the first, which differ by 1 at "
        "most: no class can be sure",
        advice="Take one softmax only: give the loss the scores of the last layer, or take the "
        "logarithm of the probabilities.",
    ),
    _Chained(
        first=SHARES | {"log_softmax", "log_sigmoid"},
        second=frozenset({"sigmoid", "log_sigmoid"}),
        size=Size.TOTAL,
        message="a sigmoid is taken of what is a probability already (or its logarithm), so that "
        "it can reach only a part of 0 to 1: 0.5 to 0.73 of a probability",
        advice="Remove one of the two: give the loss the probabilities as they are, or give the "
        "sigmoid the scores of the last layer.",
    ),
    _Chained(
        first=frozenset({"linear"}),
        second=frozenset({"log"}),
        size=Size.FAR,
        message="the logarithm is taken of raw scores, which may be negative",
        advice="Take log_softmax (or logsigmoid) of the scores, or use cross_entropy.",
    ),
    _Chained(
        first=frozenset({"linear", "tanh", "log_softmax", "log_sigmoid"}),
        second=frozenset({"ratio"}),
        size=Size.FAR,
        message="the loss divides by a sum of raw scores, which may be zero or negative: an "
        "overlap (dice, IoU) of anything but shares has no bounds",
        advice="Take the sigmoid or the softmax of the scores before the sums.",
    ),
    _Chained(
        first=SHARES | {"linear", "relu", "tanh"},
        second=frozenset({"ctc_loss"}),
        size=Size.TOTAL,
        message="ctc_loss gets what is no log-probability",
        advice="Pass log_softmax(x, -1) to ctc_loss.",
    ),
    _Chained(
        first=SHARES | {"linear", "relu", "tanh"},
        second=frozenset({"kl_div"}),
        size=Size.TOTAL,
        message="kl_div gets what is no log-probability as its first argument",
        advice="Pass log_softmax(x, -1) as the first argument of kl_div, and probabilities as the "
        "second.",
    ),
    _Chained(
        first=frozenset({"linear", "tanh"}),
        second=frozenset({"target"}),
        size=Size.TOTAL,
        message="raw scores weigh the logarithms of what was given: the arguments of cross_entropy "
        "are the wrong way round",
        advice="Call cross_entropy(scores, targets).",
    ),
)

SOFTMAX = _Mistake(
    op="cross_entropy",
    strength=exact(Size.TOTAL),
    message="cross_entropy gets the output of a softmax, but applies softmax itself",
    advice="Remove the softmax before cross_entropy: it expects logits; use softmax only to read "
    "probabilities.",
    kind="Softmax",
)
PROBABILITIES = _Mistake(
    op="nll_loss",
    strength=exact(),
    message="nll_loss gets probabilities instead of log-probabilities",
    advice="Pass logits to cross_entropy, or log_softmax(x) in place of softmax(x) to nll_loss.",
    kind="Softmax",
)
RAW_LOGITS = _Mistake(
    op="nll_loss",
    strength=exact(Size.TOTAL),
    message="nll_loss gets raw logits: their exponentials add up to more than one",
    advice="Use cross_entropy, or pass log_softmax(x) to nll_loss.",
)
SIGMOID = _Mistake(
    op="binary_cross_entropy_with_logits",
    strength=exact(),
    message=(
        "binary_cross_entropy_with_logits gets the output of a sigmoid, but applies sigmoid itself"
    ),
    advice="Remove the sigmoid before binary_cross_entropy_with_logits: it expects logits.",
    kind="Sigmoid",
)
TWICE = _Mistake(
    op="cross_entropy",
    strength=measured(Size.SLIGHT),
    message="cross_entropy gets log-probabilities, which its log_softmax does not change",
    advice="Pass log-probabilities to nll_loss; the numbers stay the same.",
    kind="LogSoftmax",
)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """What each known loss was given, in every sample; then what was written by hand."""
    given, graphs = rows.part("what", "given"), rows.part("what", "chain")
    ops = np.array(given.texts("op"), dtype=np.str_)
    known = np.isin(ops, [SOFTMAX.op, RAW_LOGITS.op, SIGMOID.op])
    for mistake, shows in _symptoms(given, ops, limits):
        of_op = ops == mistake.op
        if int(of_op.sum()) >= MIN_SAMPLES and shows[of_op].all():
            return _finding(mistake, given.ints("step")[of_op], context)
    chains = loss_chains(graphs, "op")
    wrong = ((mistake, chain) for mistake in CHAINED for chain in chains if mistake.holds(chain))
    found = next(wrong, None)
    if found is not None:
        return _of_chain(*found)
    between = _between(rows.part("what", "between"), context)
    if between is None and int(known.sum()) < MIN_SAMPLES and not chains:
        return NotChecked(
            detector=ID,
            reason="the input of cross_entropy, nll_loss or binary_cross_entropy_with_logits "
            f"was seen in {known.sum()} samples; at least {MIN_SAMPLES} are needed; nor was a loss "
            "followed from a layer through functions of its own",
        )
    return between


def _symptoms(
    rows: Rows, ops: npt.NDArray[np.str_], limits: Limits
) -> list[tuple[_Mistake, BoolArray]]:
    """Each mistake and the rows that show it, the surest first; NaN shows nothing."""
    error, partition = rows.floats("row_sum_error"), rows.floats("log_partition")
    sums_to_one = error <= limits["row_sum_limit"]
    return [
        (SOFTMAX, sums_to_one),
        (PROBABILITIES, sums_to_one),
        (RAW_LOGITS, partition >= limits["excess_limit"]),
        (SIGMOID, rows.floats("is_sigmoid") > 0),
        (SIGMOID, _fills_unit_interval(rows, ops)),
        (TWICE, np.abs(partition) <= SAME_NATS),
    ]


def _fills_unit_interval(rows: Rows, ops: npt.NDArray[np.str_]) -> BoolArray:
    """Values that never leave (0, 1) although they reach near both ends: of a sigmoid outside.

    Scores that merely begin between 0 and 1 reach neither end, or go on beyond it.
    """
    low, high = rows.floats("low"), rows.floats("high")
    inside = (low > 0) & (high <= 1)  # which float32 rounds to
    fills = inside & (low <= NEAR_END) & (high >= 1 - NEAR_END)
    return inside & (int((fills & (ops == SIGMOID.op)).sum()) >= MIN_SAMPLES)


def _finding(mistake: _Mistake, steps: IntArray, context: RunContext) -> Candidate:
    layer = _module_before_the_loss(mistake.kind, context.network)
    return Candidate(
        strength=mistake.strength,
        message=f"{mistake.message}, in all of {steps.size} samples"
        + (f" ({layer})" if layer else ""),
        advice=mistake.advice,
        layer=layer,
        layers=() if layer is None else (layer,),
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=float(steps.size),
        threshold=float(MIN_SAMPLES),
        unit="samples",
        evidence={
            "loss_op": mistake.op,
            "query": example(
                "module_rows",
                "step, loss_op, row_sum_error, log_partition",
                where="site = 'logits' and phase = 'train'",
            ),
        },
    )


def _of_chain(mistake: _Chained, chain: LossChain) -> Candidate:
    return Candidate(
        strength=exact(mistake.size),
        message=f"{mistake.message}; {chain.subject} goes through {', then '.join(chain.steps)}",
        advice=mistake.advice,
        layer=chain.layer,
        first_step=chain.first_step,
        last_step=chain.last_step,
        value=float(chain.n_steps),
        threshold=float(MIN_SAMPLES),
        unit="samples",
        earliest=0,
        evidence={
            "chain": list(chain.steps),
            "query": example("loss_graphs", "step, chains, output_min, output_max"),
        },
    )


def _between(rows: Rows, context: RunContext) -> Candidate | None:
    """A linear layer that reads the softmax of the one before."""
    told = [json_list(parsed_object(text).get("pairs")) for text in rows.texts("op")]
    if not told or not told[-1]:
        return None
    pair = json_object(told[-1][0])
    first, second = (str(pair.get(key)).rpartition(".")[0] for key in ("first", "second"))
    n_units = json_integer(pair.get("n_between"))
    return Candidate(
        strength=exact(),
        message=f"a softmax stands between the layers {first} and {second}: its {n_units} outputs "
        "sum to 1, so that each is small and all of them are one choice",
        advice="Use an activation such as nn.ReLU between layers; softmax belongs after the last "
        "one.",
        layer=first,
        first_step=int(rows.ints("step")[0]),
        last_step=context.last_step,
        value=1.0,
        threshold=None,
        unit="softmax",
        earliest=0,
        evidence={
            "n_units": n_units,
            "query": "select step, message, payload from events where kind = "
            "'softmax_between_layers'",
        },
    )


def _module_before_the_loss(kind: str, network: Network) -> str | None:
    """The last module of a type, if no matrix runs after it; attention has softmaxes too."""
    head = network.matrices[-1].depth if network.matrices else -1
    after = [m.path for m in network.modules if kind and m.type == kind and m.depth > head]
    return after[-1] if after else None


DETECTOR = Detector(
    id=ID,
    title="probabilities where scores are expected, or the reverse",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={
        "min_classes": MIN_CLASSES,
        "row_sum_limit": ROW_SUM_LIMIT,
        "excess_limit": EXCESS_LIMIT,
    },
    advice="Pass logits to cross_entropy, log-probabilities to nll_loss.",
    source="arXiv:1910.11015, arXiv:2005.00972",
    judge=judge,
    # Raw logits in nll_loss make it negative, as a loss that is climbed.
    causes=(
        "class_collapse",
        "constant_predictor",
        "gradient_ascent",
        "learning_rate_too_low",
        "loss_not_decreasing",
        "output_logits",
        "representation_collapse",
        "vanishing_gradient",
        "weight_norm_growth",
    ),
    acts_by=(Mechanism.OTHER_SIGN,),
    shown=Shown(
        low_is_worse=True,
        normal="The loss gets raw scores: the values of an example do not sum to 1.",
    ),
)
