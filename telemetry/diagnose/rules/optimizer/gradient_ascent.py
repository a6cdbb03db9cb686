"""The optimizer climbs the loss.

Symptom: in four of five sampled steps the update points along the gradient of the loss, not against
it; or the backward pass starts from minus the loss that is reported or from minus a loss that
cannot be negative (cross-entropy, squared error). It may begin in the middle of a run: then the
loss must have risen since, or the sign of what is differentiated have changed for good, which each
step says, sampled or not. Of adversaries: both win, or what the generator makes grows 256-fold and
still grows.
Fix: remove the minus sign, or maximize=True.
Not flagged: objectives of reinforcement learning and adversaries, which are climbed on purpose;
maximize=True in a run that does not fail (information); updates that are mostly weight decay;
single steps against the gradient, as momentum and Adam take them.
Source: Humbatova et al., arXiv:1910.11015.
"""

import numpy as np

from telemetry.diagnose.analyses.adversaries import Agreement, agreement
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.causes import cause_graph
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import lasting_from
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray, median
from telemetry.diagnose.judgement.severity import Size, exact, measured
from telemetry.diagnose.tags import UNJUDGED
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "gradient_ascent"
CLIMB_SHARE = 0.8  # of the samples; healthy at most 0.11, climbing 1.0
MIN_SAMPLES = 10
DECAY_SHARE = 0.5  # of the update: weight decay, not the gradient, sets its direction
LEVEL_STEPS = 10  # whose median is the level of the loss
RISE = 1.1  # over the level before a climb that begins late
# Times the start: climbed losses of unknown kinds reach 7,000 and more (measured); an objective
# that is meant to rise, as a return or a bound on information, may well pass 16.
BLOWN_UP = 256.0
LOST_RISE = 16.0  # before it was lost
MIN_RIGHT = 4  # samples
SAME_LOSS = 1e-4  # relative: rounding
SAME_SIZE = 0.01  # relative: the reported loss is the root but for its sign

# Every step whose loss is known; of sampled ones also the sign of update times gradient.
SQL = """
SELECT
    'step' AS what, '' AS layer, s.step,
    MAX(u.dot) AS dot,
    MAX(u.decay_ratio) AS decay_ratio,
    AVG(s.loss) AS loss,
    AVG(s.root_sum) AS root_sum,
    MAX(s.accumulation) AS accumulation,
    MAX(s.optimizer_steps) AS optimizer_steps, NULL AS rms, 0 AS depth
FROM steps AS s
LEFT JOIN (
    SELECT
        p.step,
        SUM(p.dot_grad) AS dot,
        MEDIAN(p.decay_ratio) AS decay_ratio
    FROM tensor_points AS p
    WHERE p.run = $run
        AND p.kind = 'update'
        AND p.dot_grad IS NOT NULL
    GROUP BY p.step
) AS u
    ON u.step = s.step
WHERE s.run = $run
    AND (u.step IS NOT NULL OR (s.loss IS NOT NULL AND s.root_sum IS NOT NULL))
GROUP BY s.step
UNION ALL
SELECT 'right', '', g.step, MIN(g.right_loss), MAX(g.blank_loss), NULL, NULL, NULL, NULL, NULL, 0
FROM loss_graphs AS g
WHERE g.run = $run AND g.call = 0 AND g.right_loss IS NOT NULL
GROUP BY g.step
UNION ALL
SELECT
    'made', t.path, r.step, NULL, NULL, NULL, NULL, NULL, NULL,
    SQRT(SUM(r.sumsq) / SUM(r.n)), MAX(t.depth)
FROM module_numbers AS r
JOIN modules AS t ON t.run = r.run AND t.module_id = r.module_id
WHERE r.run = $run AND r.site = 'output' AND r.phase = 'train' AND r.n > 0
    AND t.role IN ('linear', 'conv')
    AND REGEXP_MATCHES(LOWER(t.path), '(^|[._])(net_?)?(gen|generator|g)[0-9]*([._]|$)')
GROUP BY t.path, r.step
ORDER BY what, depth, layer, step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The loss of right answers; what adversaries want of each other; the sign of the steps."""
    backwards = _backwards(rows.part("what", "right"), context)
    if backwards is not None:
        return backwards
    steps = rows.part("what", "step")
    found = agreement(steps, rows.part("what", "made"), context)
    return _climbs(steps, context, limits) if found is None else _of_adversaries(found, context)


def _backwards(rows: Rows, context: RunContext) -> Candidate | None:
    """Right answers cost more than none, on every step that tells it."""
    steps, right, blank = rows.ints("step"), rows.floats("dot"), rows.floats("decay_ratio")
    if steps.size < MIN_RIGHT or context.tags & UNJUDGED:
        return None
    if not (right > blank + SAME_LOSS * np.abs(blank)).all():
        return None
    return Candidate(
        strength=exact(Size.TOTAL),
        message=f"the loss is the wrong way round: the answers that the targets ask for cost "
        f"{number(median(right))}, and no answer costs {number(median(blank))}",
        advice="Look at the signs of the loss and of its terms (1 - dice, not dice; minus the "
        "logarithm), at the order of its arguments, and at a term that rewards uncertainty.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=median(right),
        threshold=median(blank),
        unit="loss",
        earliest=0,
        evidence={
            "n_samples": int(steps.size),
            "query": example(
                "loss_graphs", "step, right_loss, blank_loss, root", where="right_loss is not null"
            ),
        },
    )


def _climbs(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Sign of update times gradient, with the gradient turned to the loss that the user means."""
    # A loss with negative values that was thrown far above its start has told enough.
    is_thrown = context.progress.state is State.DIVERGED
    if not (context.progress.measurable or context.baseline.negated or is_thrown):
        return NotChecked(detector=ID, reason=context.progress.reason)
    turning = _turning(rows)
    if turning is not None:
        steps = rows.ints("step")[turning]
        return _finding(
            context,
            steps,
            np.ones(steps.size, dtype=np.bool_),
            turned=True,
            limit=limits["climb_share"],
            changes=True,
        )
    dots = rows.floats("dot")
    known = np.isfinite(dots) & (dots != 0)
    if int(known.sum()) < MIN_SAMPLES:
        return NotChecked(
            detector=ID, reason=f"{known.sum()} sampled updates; at least {MIN_SAMPLES} are needed"
        )
    turned = _turned(rows, context)
    by_decay = (rows.floats("decay_ratio") >= DECAY_SHARE) & ~turned
    climbs = (((dots > 0) != turned) & ~by_decay)[known]
    start = lasting_from(climbs, share=limits["climb_share"], least=MIN_SAMPLES)
    if start is None:
        return None
    steps = rows.ints("step")[known]
    turned_now = bool(turned[known][start:].mean() >= limits["climb_share"])
    if start >= (1 - limits["climb_share"]) * climbs.size and not (
        turned_now or _rises_from(context, int(steps[start]))
    ):
        return None
    return _finding(
        context,
        steps[start:][climbs[start:]],
        climbs[start:],
        turned=turned_now,
        limit=limits["climb_share"],
    )


def _of_adversaries(found: Agreement, context: RunContext) -> Candidate:
    return Candidate(
        strength=measured(Size.FAR),
        message=found.message,
        advice="Give the generator the loss that falls when the discriminator takes what it made "
        "for real: labels of real samples, or minus the critic's score.",
        layer=found.layer,
        first_step=found.first_step,
        last_step=context.last_step,
        value=found.value,
        threshold=found.threshold,
        unit=found.unit,
        evidence={
            "query": "select step, root_sum, optimizer_steps from steps "
            "where root_sum is not null order by step",
        },
    )


def _turning(rows: Rows) -> BoolArray | None:
    """Steps from which on backward starts from minus the loss, after it started from plus it.

    Nothing is sampled of it: each step says where its backward pass began, so the change is exact.
    """
    opposite, same = _signs(rows)
    if int(same.sum()) < MIN_SAMPLES or int(opposite.sum()) < MIN_SAMPLES:
        return None
    is_after = np.arange(same.size) > np.flatnonzero(same)[-1]
    return opposite if bool((opposite & is_after).sum() == opposite.sum()) else None


def _signs(rows: Rows) -> tuple[BoolArray, BoolArray]:
    """Steps that start from minus the reported loss, and from plus it, each of shape (n,)."""
    loss, root = rows.floats("loss"), rows.floats("root_sum")
    each: FloatArray = root / np.fmax(1.0, rows.floats("accumulation"))
    opposite: BoolArray = (_close(root, -loss) | _close(each, -loss)) & (loss != 0)
    same: BoolArray = (_close(root, loss) | _close(each, loss)) & (loss != 0)
    return opposite, same


def _turned(rows: Rows, context: RunContext) -> BoolArray:
    """Where backward starts from minus the loss that the user means, shape (n,).

    Minus the reported loss is that where the loss is of a known kind, or where other steps of the
    run start from plus it. An objective of its own kind may be reported with its sign changed, but
    not one that is positive and ends at many times its start.
    """
    loss = rows.floats("loss")
    if context.baseline.negated:
        return np.ones(loss.size, dtype=np.bool_)
    opposite, same = _signs(rows)
    changes = int(same.sum()) >= MIN_SAMPLES
    if context.baseline.naive is None and not (changes or _blown_up(context)):
        return np.zeros(loss.size, dtype=np.bool_)
    return opposite


def _blown_up(context: RunContext) -> bool:
    """A positive loss ends at many times its start, or rose and is lost: none was meant to."""
    start, end = context.progress.start, context.progress.end
    if context.state is not State.DIVERGED:
        return False
    if np.isfinite(context.losses[-1]):
        return start > 0 and end >= BLOWN_UP * start
    finite = context.losses[np.isfinite(context.losses)]
    return (
        context.first_loss > 0 and median(finite[-LEVEL_STEPS:]) >= LOST_RISE * context.first_loss
    )


def _close(values: FloatArray, others: FloatArray) -> BoolArray:
    """False where either is unknown."""
    with np.errstate(invalid="ignore"):
        return np.abs(values - others) <= SAME_SIZE * np.abs(others)


def _rises_from(context: RunContext, step: int) -> bool:
    """The loss ends clearly above its level before that step, or is not finite."""
    before = context.losses[context.loss_steps <= step][-LEVEL_STEPS:]
    after = context.losses[context.loss_steps > step][-LEVEL_STEPS:]
    return not np.isfinite(after).all() or median(after) > RISE * median(before)


def _finding(
    context: RunContext,
    steps: IntArray,
    climbs: BoolArray,
    *,
    turned: bool,
    limit: float,
    changes: bool = False,
) -> Candidate:
    share = float(climbs.mean())
    declared = any(optimizer.maximises for optimizer in context.optimizers)
    meant = declared and context.progress.state is not State.DIVERGED
    why = (
        "backward() starts from minus the loss"
        if turned
        else "the optimizer has maximize=True"
        if declared
        else "updates point along the gradient instead of against it"
    )
    return Candidate(
        strength=exact(Size.TOTAL, meant=meant),
        message=f"backward() starts from minus the loss in each step from {steps[0]} on, and "
        "started from the loss before"
        if changes
        else f"the optimizer increases the loss in {share:.0%} of {climbs.size} sampled "
        f"steps (limit {limit:.0%}): {why}",
        advice="Remove the minus sign before the loss, or maximize=True from the optimizer; if "
        "the objective is meant to rise, report it under another name than loss.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=share,
        threshold=limit,
        unit="share",
        evidence={
            "n_samples": int(climbs.size),
            "state": context.progress.state,
            "query": (
                "select step, sum(dot_grad) as gradient_times_update from tensor_points "
                "where kind = 'update' and dot_grad is not null group by step order by step"
            ),
        },
        rules_out=_excluded_causes() if turned else frozenset(),
    )


def _excluded_causes() -> frozenset[str]:
    """All but what turns the sign itself, as logits in a loss of log-probabilities do."""
    graph = cause_graph()
    return graph.ancestors(ID) - graph.acting_by(Mechanism.OTHER_SIGN)


DETECTOR = Detector(
    id=ID,
    title="the optimizer increases the loss",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(Need.UPDATE, Need.LOSS),
    sql=SQL,
    parameters={"climb_share": CLIMB_SHARE},
    advice="Remove the minus sign before the loss, or maximize=True.",
    source="arXiv:1910.11015",
    judge=judge,
    # A loss that is climbed leaves its level.
    causes=(
        "exploding_gradient",
        "output_logits",
        "weight_norm_growth",
        "non_finite",
        "learning_rate_too_high",
        "loss_not_decreasing",
        "class_collapse",
    ),
    acts_by=(Mechanism.GROWTH,),
    shown=Shown(
        normal="Steps decrease the loss: gradient times update is negative in nearly every "
        "sample (or positive, where backward() starts from minus the intended loss).",
    ),
)
