"""Adam's second moment is invalid, lost, or lags behind the gradients.

Symptom: the second moment is negative, or not finite while weights and gradients are; or it is that
of a first step in mid-training, as of an optimizer whose state was not loaded; or it falls faster
than its decay lets it, which it cannot do by itself; or the gradient of a
matrix is eight times what its second moment expects in two samples, and then the loss jumps.
Fix: load the optimizer's state with the weights; beta2 of 0.95, a longer warm-up, or clipping of
updates where the moment lags; float32 for the state where it overflows.
Not flagged: embeddings, whose rows wait long for a gradient; the first 100 steps; large ratios that
come with the jump and not before it; where the loss does not stay up, all this is information.
Source: Wortsman et al., arXiv:2304.13013; Molybog et al., arXiv:2304.09871.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.causes import cause_graph
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray, median, step_noise
from telemetry.diagnose.judgement.severity import Size, exact, measured
from telemetry.diagnose.wording import number, of_parameters
from telemetry.store.sessions.rows import Rows

ID = "adam_second_moment"
RATIO_LIMIT = 8.0  # healthy about 1; RMS spikes of arXiv:2304.13013 begin at 2.3
FIRST_STEPS = 100  # steps in which the moment is young anyhow
SAME_RATIO = 1e-3  # of 1: the moment is this very gradient squared
OTHER_RATIO = 0.05  # from 1, usually, in the sample before
MIN_TENSORS = 3  # whose ratio is 1 at once
# v is at least beta2 times what it was a step before. A beta2 below 0.9 is unheard of: it stands in
# where beta2 was not recorded, for samples that are this close.
LEAST_DECAY = 0.9
FALL_STEPS = 10
FALL_SHARE = 0.25  # of that least value: rounding and skipped steps do not reach it
FOLLOWS = 10  # steps within which the loss jumps
JUMP = 1.5  # times the recent median, as loss_spike has it
NOISES = 10.0
RECENT, SUSTAINED, RECOVERY = 50, 5, 50  # steps

SQL = """
SELECT
    p.step,
    t.module AS layer,
    p.param_id,
    p.min AS low,
    p.sum,
    p.n_nan + p.n_inf AS n_bad,
    COALESCE(g.n_given, 0) AS n_given,
    p.rms_ratio AS ratio
FROM tensor_points AS p
JOIN tensors AS t
    ON t.run = p.run
    AND t.tensor_id = p.param_id
LEFT JOIN (
    SELECT b.step, b.param_id, SUM(b.n_nan + b.n_inf) AS n_given
    FROM tensor_points AS b
    WHERE b.run = $run
        AND b.kind IN ('gradient', 'weight')
        AND b.n_nan + b.n_inf > 0
    GROUP BY b.step, b.param_id
) AS g
    ON g.step = p.step
    AND g.param_id = p.param_id
WHERE p.run = $run
    AND p.kind = 'optimizer_state'
ORDER BY p.step, p.param_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Defect:
    """What is wrong with a second moment, at which sampled step and in which layer."""

    message: str
    advice: str
    step: int
    value: float
    limit: float
    layer: str | None = None
    invalid: bool = False
    lost: bool = False


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Invalid values first, then a lost state, then ratios before a jump of the loss."""
    if not len(rows):
        return NotChecked(
            detector=ID,
            reason="no second moment was recorded: no optimizer belongs to the Adam family",
            absent=True,
        )
    found = (
        _invalid(rows) or _lost(rows) or _fallen(rows, context) or _lagging(rows, context, limits)
    )
    if found is None:
        return None
    strength = exact(Size.TOTAL) if found.invalid else measured(Size.SLIGHT)
    if not found.invalid and _stays_up(context, found.step):
        strength = measured()
    return Candidate(
        strength=strength,
        message=found.message,
        advice=found.advice,
        layer=found.layer,
        layers=() if found.layer is None else (found.layer,),
        first_step=found.step,
        last_step=found.step,
        value=found.value,
        threshold=found.limit,
        unit="" if found.invalid else "gradient / root of second moment",
        evidence={
            "state": context.progress.state,
            "query": of_parameters(
                "p.step, t.name as parameter, p.rms_ratio, p.min, p.n_inf",
                where="kind = 'optimizer_state'",
            ),
        },
        rules_out=cause_graph().ancestors(ID) if found.lost else frozenset(),
        also_causes=_caused_by_a_loss() if found.lost else frozenset(),
    )


def _caused_by_a_loss() -> frozenset[str]:
    """Steps that are many times too long do what a rate does that is too high."""
    graph = cause_graph()
    alike = graph.acting_by(Mechanism.LONG_STEPS)
    return alike.union(*(graph.descendants(name) for name in alike))


def _invalid(rows: Rows) -> _Defect | None:
    low, given = rows.floats("low"), rows.floats("n_given")
    bad = np.flatnonzero((low < 0) | ((rows.floats("n_bad") > 0) & (given == 0)))
    if not bad.size:
        return None
    place = int(bad[0])
    step, layer = int(rows.ints("step")[place]), rows.texts("layer")[place]
    what = f"negative ({number(low[place])})" if low[place] < 0 else "not finite"
    return _Defect(
        message=(
            f"the second moment of {layer or 'the model'} is {what} at step {step}, "
            "although its gradient and weights are finite"
        ),
        advice=(
            "Keep the optimizer's state in float32 and do not write into it; if it was "
            "loaded, load it from another checkpoint."
        ),
        step=step,
        value=float(low[place]),
        limit=0.0,
        layer=layer,
        invalid=True,
    )


def _lost(rows: Rows) -> _Defect | None:
    """A sample in which every second moment is the gradient squared, and none was before."""
    steps, ratios = rows.ints("step"), rows.floats("ratio")
    before: FloatArray = np.zeros(0)
    at, starts = np.unique(steps, return_index=True)
    for step, sample in zip(at.tolist(), np.split(ratios, starts[1:]), strict=True):
        here = sample[np.isfinite(sample)]
        fresh = here.size >= MIN_TENSORS and bool((np.abs(here - 1) <= SAME_RATIO).all())
        if step > FIRST_STEPS and fresh and median(np.abs(before - 1)) >= OTHER_RATIO:
            return _Defect(
                message=(
                    f"Adam's second moments were reset at step {step}: all {here.size} look "
                    "like those of a first step"
                ),
                lost=True,
                advice="Load the optimizer's state together with the model's weights, or warm "
                "up again after a restart without it.",
                step=step,
                value=1.0,
                limit=1.0,
            )
        before = here
    return None


def _fallen(rows: Rows, context: RunContext) -> _Defect | None:
    """The first sample in which most second moments are below what decay alone leaves of them."""
    beta2 = min((optimizer.beta2 for optimizer in context.optimizers), default=0.0)
    decay, within = (beta2, np.inf) if beta2 > 0 else (LEAST_DECAY, FALL_STEPS)
    ids, steps, sums = rows.ints("param_id"), rows.ints("step"), rows.floats("sum")
    order = np.lexsort((steps, ids))
    apart = np.diff(steps[order])
    # Recorded moments are divided by 1 - beta2^t, which grows as long as they are young.
    corrected = 1 - decay ** (steps[order] + 1.0)
    least = sums[order][:-1] * decay**apart * corrected[:-1] / corrected[1:]
    pairs = (np.diff(ids[order]) == 0) & (apart <= within) & (least > 0)
    pairs &= steps[order][:-1] >= FIRST_STEPS
    fell = pairs & (sums[order][1:] < FALL_SHARE * least)
    later = steps[order][1:]
    for step in np.unique(later[fell]).tolist():
        here = later == step
        n_fallen = int((fell & here).sum())
        if n_fallen >= max(MIN_TENSORS, 0.5 * (pairs & here).sum()):
            worst = float(np.min(sums[order][1:][fell & here] / sums[order][:-1][fell & here]))
            return _Defect(
                message=f"{n_fallen} second moments fall to as little as {number(worst)} of "
                f"their value before step {step}, faster than they can decay: the state "
                "was replaced",
                advice="Load the whole optimizer state together with the model's weights, or "
                "warm up again after a restart without it.",
                step=step,
                value=worst,
                limit=FALL_SHARE,
                lost=True,
            )
    return None


def _lagging(rows: Rows, context: RunContext, limits: Limits) -> _Defect | None:
    """The first pair of successive samples of a matrix with large ratios before a jump."""
    ids, steps, ratios = rows.ints("param_id"), rows.ints("step"), rows.floats("ratio")
    first: _Defect | None = None
    for matrix in context.network.matrices:
        own = (ids == matrix.id) & (steps >= context.warm_in)
        large = ratios[own] >= limits["ratio_limit"]
        for place in np.flatnonzero(large[1:] & large[:-1]).tolist():
            begin, end = steps[own][place : place + 2].tolist()
            jump = _jump_after(context, begin, end)
            if jump is not None and (first is None or begin < first.step):
                value = float(ratios[own][place : place + 2].min())
                first = _Defect(
                    message=(
                        f"the gradient of {matrix.layer or 'the model'} is {number(value)}× "
                        f"what its second moment expects at steps {begin} and {end} (limit "
                        f"{number(limits['ratio_limit'])}); the loss jumps at step {jump}"
                    ),
                    advice="Lower beta2 to 0.95, warm up longer, or clip updates.",
                    step=begin,
                    value=value,
                    limit=limits["ratio_limit"],
                    layer=matrix.layer,
                )
    return first


def _jump_after(context: RunContext, begin: int, end: int) -> int | None:
    """Step of a jump of the loss within ten steps of the second sample, and not before it."""
    for start in np.flatnonzero((context.loss_steps > end) & (context.loss_steps <= end + FOLLOWS)):
        earlier = context.losses[max(0, start - RECENT) : start]
        usual, here = median(earlier), median(context.losses[start : start + SUSTAINED])
        rise = max((JUMP - 1) * usual, NOISES * step_noise(earlier))
        if here >= usual + rise:
            since = context.losses[(context.loss_steps >= begin) & (context.loss_steps <= end)]
            return int(context.loss_steps[start]) if (since < usual + rise).all() else None
    return None


def _stays_up(context: RunContext, step: int) -> bool:
    """Fifty steps later, or at the end, the loss is still above what it was before the step."""
    before = context.losses[context.loss_steps < step][-RECENT:]
    after = context.losses[context.loss_steps >= step + RECOVERY][:RECENT]
    if after.size < SUSTAINED or not context.progress.measurable:
        return False
    usual = median(before)
    return median(after) >= usual + max((JUMP - 1) * usual, NOISES * step_noise(before))


DETECTOR = Detector(
    id=ID,
    title="Adam's second moment is invalid, lost or late",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"ratio_limit": RATIO_LIMIT},
    advice="Load the optimizer's state with the weights; lower beta2.",
    source="arXiv:2304.13013, arXiv:2304.09871",
    judge=judge,
    causes=("loss_spike",),
    shown=Shown(
        unit="gradient / root of second moment",
        normal="The squared gradient is about as large as the second moment: the ratio is near 1.",
    ),
)
