"""The weights multiply: each step adds the same share of themselves.

Symptom: the norm of a weight matrix has grown eight times since the start, all the time at one pace
(by the same factor a step, or a unit of learning rate), along the weights themselves, and the loss
or the validation loss has risen meanwhile.
Fix: look for a penalty or a decay of the wrong sign, which rewards large weights. If there is none,
look for what multiplies the weights in every step.
Not flagged: growth of a changing pace, as all other growth is: steps of a steady direction add the
same length each time, scale-invariant weights without decay grow as the root of the time, weights
that start small grow until they fit, and a rate that is too high throws them about; matrices that
start at zero (their start counts as a tenth of the usual norm); embeddings and low-rank adapters;
growth of any kind while the loss falls. These are reported with --detector weight_norm_growth.
Source: Kosson et al., arXiv:2305.17212; Andriushchenko et al., arXiv:2310.04415.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate, Description
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.network import Parameter
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.evaluations import evaluated
from telemetry.diagnose.judgement.progress import SIGNED
from telemetry.diagnose.judgement.robust import FloatArray, median
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.wording import MATRICES, and_more, example, number
from telemetry.store.sessions.rows import Rows

ID = "weight_norm_growth"
GROWTH_BITS = 3.0  # 8 times; healthy matrices end at 2.7 in 400 to 800 steps
# Of nine tenths of the time over one tenth: 1.05 to 1.27 where a term multiplies the weights; of
# other growth to 8 times the most even, gradients that are not cleared, has 3.6.
PACE_FACTOR = 2.0
# Relative growth a step over the size of a step: 0.8 to 1 and more where a term multiplies the
# weights. A rate too high for a quadratic, also of one pace, has at most max ln(x - 1) / x = 0.28.
ALONG_SHARE = 0.5
MIN_SAMPLES = 6
WORSE = 1.5  # loss at the end over its best

SQL = """
SELECT
    'norm' AS what,
    '' AS name,
    l.step,
    l.param_id,
    l.weight_norm AS value,
    l.update_ratio
FROM layers AS l
WHERE l.run = $run
    AND l.weight_norm IS NOT NULL
UNION ALL
SELECT
    'metric' AS what,
    m.name,
    m.step,
    0 AS param_id,
    MAX(m.value) AS value,
    NULL AS update_ratio
FROM metrics AS m
WHERE m.run = $run
    AND m.phase = 'eval'
    AND m.value IS NOT NULL
GROUP BY m.name, m.step
ORDER BY what, name, step, param_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How the norm of one matrix has grown.

    Attributes:
        layer: Its module.
        bits: log2 of the last norm over the first.
        pace: Usual relative growth a step.
        first_step: Of the first sample if even, else of that from which on it has doubled.
        last_step: Of the last sample.
        even: At one pace, by steps along the weights.
    """

    layer: str
    bits: float
    pace: float
    first_step: int
    last_step: int
    even: bool


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Matrices that grow evenly before those that have merely grown; the largest growth first."""
    norms, metrics = _parts(rows)
    if not any(len(seen) >= MIN_SAMPLES for seen in norms.values()):
        return NotChecked(
            detector=ID, reason=f"fewer than {MIN_SAMPLES} weight samples; train longer"
        )
    matrices = [matrix for matrix in context.network.matrices if matrix.id in norms]
    grown = [_growth(matrix, norms[matrix.id], context, limits) for matrix in matrices]
    large = [growth for growth in grown if growth and growth.bits >= limits["growth_bits"]]
    if not large:
        return None
    even = [growth for growth in large if growth.even]
    worst_first = sorted(even or large, key=lambda growth: -growth.bits)
    harm = _worse(context, metrics, worst_first[0].first_step)
    finding = _finding(worst_first, context, harm, limits)
    return finding if even and harm else Description(candidate=finding)


def _parts(rows: Rows) -> tuple[dict[int, Rows], Rows]:
    """Rows of norms by parameter, and those of evaluated metrics."""
    own = rows.part("what", "norm")
    ids = own.ints("param_id")
    norms = {int(one): Rows(own.arrow.filter(ids == one)) for one in np.unique(ids)}
    return norms, rows.part("what", "metric")


def _growth(matrix: Parameter, rows: Rows, context: RunContext, limits: Limits) -> Growth | None:
    """Growth of a matrix; None where too little was seen."""
    norms = rows.floats("value")
    known = np.isfinite(norms) & (norms > 0)
    if int(known.sum()) < MIN_SAMPLES:
        return None
    steps, norms, ratios = (
        rows.ints("step")[known],
        norms[known],
        rows.floats("update_ratio")[known],
    )
    bits = np.log2(norms / max(norms[0], matrix.norm_floor))
    below = np.flatnonzero(bits < 1)
    first = min(int(below[-1]) + 1, bits.size - 1) if below.size else 0
    growth, lengths = np.diff(np.log(norms)), np.diff(steps).astype(np.float64)
    rates = np.concatenate([[0.0], np.cumsum(np.nan_to_num(context.steps.lr))])
    spent = np.diff(rates[np.searchsorted(context.steps.step, steps)])
    factor = min(_pace_factor(growth, lengths), _pace_factor(growth, spent))
    along = median(growth / lengths / ((ratios[1:] + ratios[:-1]) / 2))
    even = factor <= limits["pace_factor"] and along >= limits["along_share"]
    return Growth(
        layer=matrix.layer,
        bits=float(bits[-1]),
        pace=float(_quantile(growth / lengths, lengths, 0.5)),
        first_step=int(steps[0 if even else first]),
        last_step=int(steps[-1]),
        even=even,
    )


def _pace_factor(growth: FloatArray, lengths: FloatArray) -> float:
    """Pace that holds in nine tenths of the time, over that of one tenth; of any time at all.

    It holds for the intervals alike whatever their length too: where samples are few, one of them
    may be most of the time.

    Args:
        growth: Natural logarithm of the growth between samples.
        lengths: What passed between them: steps, or learning rate summed over them.
    """
    kept = lengths > 0
    if int(kept.sum()) < MIN_SAMPLES - 1:
        return float("inf")
    paces = growth[kept] / lengths[kept]
    factors = []
    for weights in (lengths[kept], np.ones(paces.size)):
        low, high = (_quantile(paces, weights, share) for share in (0.1, 0.9))
        factors.append(high / low if low > 0 else float("inf"))
    return max(factors)


def _quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    """Value up to which that share of the weights lies."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(reached, share)), values.size - 1)])


def _worse(context: RunContext, metrics: Rows, first_step: int) -> str:
    """What has become worse since the growth began; empty if nothing has."""
    if context.progress.failing:
        return f"the run is {context.progress.state}"
    losses = context.losses[np.isfinite(context.losses)]
    width = max(3, losses.size // 20)
    if losses.size >= 4 * width and (losses > 0).all():
        blocks = [median(part) for part in np.array_split(losses, losses.size // width)]
        if blocks[-1] >= WORSE * min(blocks):
            return f"the loss has risen from {number(min(blocks))} to {number(blocks[-1])}"
    for series in evaluated(metrics):
        best, last = float(series.smooth[series.best]), median(series.values[-3:])
        late = series.steps[-1] >= first_step
        if series.is_loss and series.values.size >= 4 and late and last >= WORSE * best > 0:  # noqa: PLR2004 - one best, three last
            return f"{series.name} has risen from {number(best)} to {number(last)}"
    return ""


def _finding(grown: list[Growth], context: RunContext, harm: str, limits: Limits) -> Candidate:
    worst, progress = grown[0], context.progress
    layers = tuple(dict.fromkeys(growth.layer for growth in grown))
    # A reward for large weights that is part of the reported loss makes it negative.
    judged = progress.measurable or progress.reason in {SIGNED, ""}
    warns = worst.even and bool(harm) and judged
    rate = median(context.steps.lr[context.steps.lr > 0])  # a schedule may have ended at zero
    like = f"a weight decay of {number(-worst.pace / rate)} at the learning rate {number(rate)}"
    pace = f", steadily by {worst.pace:.2%} per step" if worst.even else ""
    return Candidate(
        strength=measured(Size.CLEAR if warns else Size.SLIGHT),
        message=f"the weights of {and_more(layers)} have grown {number(2**worst.bits)}× "
        f"(limit {number(2 ** limits['growth_bits'])}×){pace}" + (f"; {harm}" if harm else ""),
        advice="Check the sign of every weight penalty and weight decay"
        + (f": the growth matches {like}." if np.isfinite(rate) else ".")
        if worst.even
        else (
            "Weight decay limits the size of the weights, and with it the relative size of a step."
        ),
        layer=worst.layer,
        layers=layers[:10],
        first_step=worst.first_step,
        last_step=worst.last_step,
        value=worst.bits,
        threshold=limits["growth_bits"],
        unit="bits",
        evidence={
            "pace": worst.pace,
            "even": worst.even,
            "state": context.progress.state,
            "query": example("layers", "step, layer, parameter, weight_norm", where=MATRICES),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the weights grow at a steady rate",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.WEIGHT, Need.LOSS),
    sql=SQL,
    parameters={
        "growth_bits": GROWTH_BITS,
        "pace_factor": PACE_FACTOR,
        "along_share": ALONG_SHARE,
    },
    advice="Check the sign of every weight penalty and weight decay.",
    source="arXiv:2305.17212, arXiv:2310.04415",
    judge=judge,
    # Weights that a rate too high throws about are no finding: their pace changes.
    causes=(
        "learning_rate_too_high",
        "exploding_gradient",
        "attention_logits",
        "output_logits",
        "saturated_units",
        "overfitting",
        "loss_spike",
        "loss_not_decreasing",
    ),
    shown=Shown(
        normal="The weight norms settle, or grow more and more slowly.",
    ),
)
