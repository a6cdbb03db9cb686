"""The weights grow without bound, and ever faster.

Symptom: the norm of a weight matrix has grown 32 times since the start, by steps along the weights
themselves, and still grows by about the same factor in every quarter of the time since it had
doubled, and the loss or the validation loss has risen meanwhile.
Fix: look for a penalty or a decay of the wrong sign, which rewards large weights; add weight decay;
lower the learning rate.
Not flagged: growth that slows down, as all healthy growth does: a step of a steady direction adds
the same each time, and scale-invariant weights without decay grow as the root of the time; growth
by steps that turn the weights round, which learning_rate_too_high tells of; matrices that start at
zero (their start counts as a tenth of the usual norm); embeddings and low-rank adapters. Steady
growth that has done no harm yet is information, and a warning from 1000 times on; other growth is
told where the rule is asked for.
Source: Kosson et al., arXiv:2305.17212; Andriushchenko et al., arXiv:2310.04415.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evaluations import evaluated
from telemetry.diagnose.finding import Description, Finding, NotChecked, Severity
from telemetry.diagnose.network import Parameter
from telemetry.diagnose.robust import FloatArray, IntArray, median
from telemetry.diagnose.wording import MATRICES, and_more, example, number
from telemetry.store.rows import Rows

ID = "weight_norm_growth"
GROWTH_BITS = 5.0  # 32 times; healthy runs of 400 steps end at 2.7
EXTREME_BITS = 10.0
# A quarter's growth over the mean of the four: 1 where it is exponential. Growth to 32 times by
# equal additions ends at 0.39, by additions that themselves grow evenly at 0.60.
STEADY_SHARE = 0.5
DOUBLED_BITS = 1.0  # growth is watched from here on
START_SHARE = 0.1  # of the usual norm sqrt(n / fan_in): a matrix that starts at zero
MIN_SAMPLES = 6  # of the growth
# Relative growth a step over the relative size of a step: 1 where what is added to the weights is a
# multiple of them (0.98 for a penalty of the wrong sign). Steps that overshoot turn them round:
# ln(x - 1) / x <= 0.28 for x = lr h > 2, and 0.3 with momentum; gradients not cleared reach 0.76.
ALONG_SHARE = 0.8
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
        first_step: Of the last sample before which the norm had not doubled.
        last_step: Of the last sample.
        steady: It has grown alike in every quarter of the time since, by steps along the weights.
    """

    layer: str
    bits: float
    first_step: int
    last_step: int
    steady: bool


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The matrix that has grown most; steady growth before growth that slows down."""
    norms, metrics = _parts(rows)
    grown = [
        growth
        for matrix in context.network.matrices
        if matrix.id in norms and (growth := _growth(matrix, norms[matrix.id], limits)) is not None
    ]
    if not any(len(seen) >= MIN_SAMPLES for seen in norms.values()):
        return NotChecked(
            detector=ID, reason=f"fewer than {MIN_SAMPLES} samples of weights; train longer"
        )
    large = [growth for growth in grown if growth.bits >= limits["growth_bits"]]
    if not large:
        return None
    steady = [growth for growth in large if growth.steady]
    finding = _finding(sorted(steady or large, key=lambda g: -g.bits), context, metrics, limits)
    return finding if steady else Description(finding=finding)


def _parts(rows: Rows) -> tuple[dict[int, Rows], Rows]:
    """Rows of norms by parameter, and those of evaluated metrics."""
    codes, names = rows.codes("what")
    parts = {what: Rows(rows.arrow.filter(codes == code)) for code, what in enumerate(names)}
    nothing = Rows(rows.arrow.slice(0, 0))
    own = parts.get("norm", nothing)
    ids = own.ints("param_id")
    return {int(one): Rows(own.arrow.filter(ids == one)) for one in np.unique(ids)}, parts.get(
        "metric", nothing
    )


def _growth(matrix: Parameter, rows: Rows, limits: Limits) -> Growth | None:
    """Growth of a matrix since its norm had doubled; None where it has not."""
    norms = rows.floats("value")
    known = np.isfinite(norms) & (norms > 0)
    steps, norms = rows.ints("step")[known], norms[known]
    if not norms.size:
        return None
    ratios = rows.floats("update_ratio")[known]
    usual = float(np.sqrt(matrix.n / matrix.fan_in))
    bits = np.log2(norms / max(norms[0], START_SHARE * usual))
    below = np.flatnonzero(bits < DOUBLED_BITS)
    first = int(below[-1]) + 1 if below.size else 0
    if bits.size - first < MIN_SAMPLES:
        return None
    steps, bits, ratios = steps[first:], bits[first:], ratios[first:]
    is_steady = _is_steady(steps, bits, limits["steady_share"])
    return Growth(
        layer=matrix.layer,
        bits=float(bits[-1]),
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        steady=is_steady and _is_along(steps, bits, ratios, limits["along_share"]),
    )


def _is_steady(steps: IntArray, bits: FloatArray, share: float) -> bool:
    """Every quarter of the time has its share of the growth."""
    corners = np.linspace(float(steps[0]), float(steps[-1]), 5)
    quarters = np.diff(np.interp(corners, steps, bits))
    return bool(quarters.min() >= share * quarters.mean() > 0)


def _is_along(steps: IntArray, bits: FloatArray, ratios: FloatArray, share: float) -> bool:
    """The steps grow the weights rather than turn them."""
    known = np.isfinite(ratios)
    if not known.any():
        return False
    every = np.linspace(float(steps[0]), float(steps[-1]), 65)
    ratio = float(np.interp(every, steps[known], ratios[known]).mean())
    pace = (bits[-1] - bits[0]) * np.log(2) / (steps[-1] - steps[0])
    return bool(pace >= share * ratio)


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


def _finding(grown: list[Growth], context: RunContext, metrics: Rows, limits: Limits) -> Finding:
    worst = grown[0]
    layers = tuple(dict.fromkeys(growth.layer for growth in grown))
    harm = _worse(context, metrics, worst.first_step)
    extreme = worst.bits >= limits["extreme_bits"]
    warns = worst.steady and context.progress.measurable and bool(harm or extreme)
    pace = "and keep the pace" if worst.steady else "since the start"
    return Finding(
        detector=ID,
        severity=Severity.WARNING if warns else Severity.INFO,
        message=f"the weights of {and_more(layers)} have grown {number(2**worst.bits)} times "
        f"(limit {number(2 ** limits['growth_bits'])}) {pace}" + (f"; {harm}" if harm else ""),
        advice="Check the sign of every penalty and decay of the weights; add weight decay, or "
        f"divide the learning rate ({number(context.lr_at(worst.last_step))}) by 4."
        if worst.steady
        else "Weight decay keeps the size of the weights, and with it the size of a step.",
        layer=worst.layer,
        layers=layers[:10],
        first_step=worst.first_step,
        last_step=worst.last_step,
        value=worst.bits,
        threshold=limits["growth_bits"],
        unit="bits",
        evidence={
            "steady": worst.steady,
            "state": context.progress.state,
            "query": example("layers", "step, layer, parameter, weight_norm", where=MATRICES),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the weights grow without bound",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.WEIGHT, Need.LOSS),
    sql=SQL,
    parameters={
        "growth_bits": GROWTH_BITS,
        "extreme_bits": EXTREME_BITS,
        "steady_share": STEADY_SHARE,
        "along_share": ALONG_SHARE,
    },
    advice="Check the sign of penalties and decay, add weight decay, lower the learning rate.",
    source="arXiv:2305.17212, arXiv:2310.04415",
    judge=judge,
    shown=Shown(
        normal="The norms of the weights settle, or grow slower and slower.",
    ),
)
