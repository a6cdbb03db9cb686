"""Output logits drift until the type that holds them no longer tells them apart.

Symptom: the mean log-partition (logsumexp of the logits) grows steadily beyond 20 and the logits
are so large that rounding moves them by 0.25 (64 in bfloat16, 512 in float16); or one of the two in
a run that does not learn.
Fix: a z-loss of 1e-4 (its sign: large partitions must cost), float32 logits, label smoothing, a
lower learning rate.
Not flagged: large logits that stay as they are in a run that learns (confident classifiers, scaled
cosines, soft caps: information); a log-partition that grows in float32 while the run learns, for
the softmax does not see it; losses other than cross-entropy.
Source: Chowdhery et al., arXiv:2204.02311; Zoph et al., arXiv:2202.08906; Wortsman et al.,
arXiv:2309.14322.

Logits under autocast may reach the loss as float32 though they were rounded before: then the drift
alone is seen.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import Persistence, persistence
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, log2_positive, median, trend
from telemetry.diagnose.judgement.severity import Size, Strength, statistical
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "output_logits"
# Healthy networks of the benchmark end with a log-partition of 11 at most, most of them below 8.
PARTITION_LIMIT = 20.0  # nats
DRIFT_Z = 4.0  # of a trend over the samples: ten that grow all the way have this
ROUNDING_LIMIT = 0.25  # nats: what rounding adds to or takes from a logit
MIN_SAMPLES = 3
MANTISSA_BITS = {"bfloat16": 7, "float16": 10, "float32": 23, "float64": 52}

SQL = """
SELECT
    r.step,
    MAX(r.dtype) AS dtype,
    MAX(r.absmax) AS absmax,
    AVG(r.log_partition) AS log_partition
FROM module_numbers AS r
JOIN modules AS m
    ON m.project = r.project
    AND m.run = r.run
    AND m.module_id = r.module_id
WHERE r.run = $run
    AND m.path = ''
    AND r.site = 'logits'
    AND r.phase = 'train'
    AND r.loss_op = 'cross_entropy'
    AND r.absmax IS NOT NULL
GROUP BY r.step
ORDER BY r.step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Logits:
    """Logits over the samples, each array of shape (n_samples,).

    Attributes:
        dtype: Type in which the loss read them.
        partition: Magnitude of the mean log-partition; NaN where it is unknown.
        size: Largest magnitude: of a logit without its row's mean, or of the log-partition, which
            tells of the mean.
        rounding: What rounding to the type moves a logit of that size by at most.
    """

    dtype: str
    steps: IntArray
    partition: FloatArray
    size: FloatArray
    rounding: FloatArray


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Rounded and drifting in any state; one of the two where the run does not learn."""
    if not len(rows):
        return NotChecked(
            detector=ID,
            reason="no logits of a cross-entropy loss were seen in training",
            absent=True,
        )
    if len(rows) < MIN_SAMPLES:
        return NotChecked(
            detector=ID,
            reason=f"{len(rows)} logit samples from training; at least {MIN_SAMPLES} are needed",
        )
    logits = _logits(rows)
    rounded = persistence(
        logits.steps, logits.rounding >= limits["rounding_limit"], start=context.warm_in
    )
    drifting = _drift(logits, context, limits)
    if rounded is not None:
        size = Size.CLEAR if drifting is None else Size.FAR
        return _rounded(logits, rounded, size, limits)
    if drifting is None or context.progress.improving:
        return None
    return _drifting(logits, drifting, limits)


def _logits(rows: Rows) -> _Logits:
    dtype = rows.texts("dtype")[-1]
    partition = np.abs(rows.floats("log_partition"))
    size = np.fmax(rows.floats("absmax"), partition)
    exponent = np.floor(log2_positive(size))
    return _Logits(
        dtype=dtype,
        steps=rows.ints("step"),
        partition=partition,
        size=size,
        rounding=2.0 ** (exponent - MANTISSA_BITS.get(dtype, MANTISSA_BITS["float64"]) - 1),
    )


def _drift(logits: _Logits, context: RunContext, limits: Limits) -> Persistence | None:
    """A log-partition beyond the limit that has grown all the way."""
    if not trend(logits.partition)[1] >= limits["drift_z"]:
        return None
    return persistence(
        logits.steps, logits.partition >= limits["partition_limit"], start=context.warm_in
    )


def _rounded(logits: _Logits, held: Persistence, size: Size, limits: Limits) -> Candidate:
    top, rounding = median(logits.size[held.where]), median(logits.rounding[held.where])
    return _finding(
        logits,
        held,
        strength=statistical(size),
        message=f"output logits reach {number(top)} in {logits.dtype}, which rounds them by up to "
        f"{number(rounding)} (limit {number(limits['rounding_limit'])})",
        value=rounding,
        threshold=limits["rounding_limit"],
    )


def _drifting(logits: _Logits, held: Persistence, limits: Limits) -> Candidate:
    partition = median(logits.partition[held.where])
    return _finding(
        logits,
        held,
        strength=statistical(),
        message=f"the log-partition of the output logits grows steadily, to {number(partition)} "
        f"(limit {number(limits['partition_limit'])}), while the run does not learn",
        value=partition,
        threshold=limits["partition_limit"],
    )


def _finding(
    logits: _Logits,
    held: Persistence,
    *,
    strength: Strength,
    message: str,
    value: float,
    threshold: float,
) -> Candidate:
    known = logits.partition[~np.isnan(logits.partition)]
    return Candidate(
        strength=strength,
        message=message,
        advice="Add a z-loss (1e-4 times the squared log-partition), compute the logits in "
        "float32, smooth the labels, or lower the learning rate.",
        first_step=held.first_step,
        last_step=held.last_step,
        value=value,
        threshold=threshold,
        unit="nats",
        evidence={
            "dtype": logits.dtype,
            "log_partition": [float(known[0]), float(known[-1])] if known.size else [],
            "query": example("activations", "step, absmax, std", layer="", where="site = 'logits'"),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="output logits drift beyond the precision of their type",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "rounding_limit": ROUNDING_LIMIT,
        "partition_limit": PARTITION_LIMIT,
        "drift_z": DRIFT_Z,
    },
    advice="Add a z-loss, compute the logits in float32, or lower the learning rate.",
    source="arXiv:2204.02311, arXiv:2202.08906, arXiv:2309.14322",
    judge=judge,
    causes=("loss_spike", "layer_imbalance", "loss_not_decreasing"),
    shown=Shown(
        normal="Logits stay so small that their type can represent steps of a hundredth, and "
        "their level does not drift.",
    ),
)
