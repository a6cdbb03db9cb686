"""Steps overshoot: the loss leaves its starting level, or the initialisation is erased.

Symptom: (1) the loss climbs to twice its start (or the loss of random guessing, if that is more);
(2) an adaptive optimizer's steps are as large as the weights within the first ten steps, of all
matrices or of a parameter group whose rate is four times that of another; (3) steps of 40 % of the
weights at the start of a run that learns nothing; (4) weights that end at 16 times their start in a
run that fails.
Fix: divide the learning rate by the factor that the finding prints, or warm it up.
Not flagged: runs that recover: they end at a quarter of the loss of random guessing (information;
RMSprop at its default rate starts that way); the edge of stability (2103.00065); a catapult in the
first twenty steps that ends below the start (2003.02218), or however high at half of the loss of
random guessing; climbs to less than four times the start in a run that comes down to that half, or
whatever their height if it had come there before and does again; losses that high which are
scattered over a run that has not diverged, so that chance brings some together; large steps on
scale-invariant weights with SGD; Adagrad's first steps, which shrink by themselves; warm restarts;
single hard batches (medians over 32 samples are compared unless the steps are large and the run
fails); losses that vary while the weights stand still; runs whose loss does not measure progress; a
loss whose level is unknown, unless it ends about its start or passed 16 times; one with negative
values, unless it ends above its start by 16 times the range of its first ten.
Source: Cohen et al., arXiv:2103.00065; Schneider et al., arXiv:2102.06604.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.analyses.early_steps import EarlySteps, early_steps, fast_group
from telemetry.diagnose.analyses.excursions import (
    CATAPULT_STEPS,
    Excursion,
    did_no_harm,
    first_above,
    found_excursion,
    is_chance,
    last_above,
)
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.grids import grids
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import sustained_width
from telemetry.diagnose.judgement.progress import (
    SIGNED_RISE,
    STALLED_SHARE,
    START_LOSSES,
    State,
    signed_range,
)
from telemetry.diagnose.judgement.robust import row_medians
from telemetry.diagnose.judgement.severity import Size, Strength, measured, statistical
from telemetry.diagnose.wording import MATRICES, and_more, example, number
from telemetry.store.sessions.rows import Rows

ID = "learning_rate_too_high"
EXCURSION_LIMIT = 2.0  # healthy at most 1.4, harmful from 2.6
EXCURSION_ERROR = 4.0
EXCURSION_UNKNOWN = 16.0  # without a known level the first loss may be small by chance
FIRST_LOSSES = 3
EARLY_LIMIT = 1.0  # update / weight; healthy at most 0.62 with adaptive optimizers, faults 1.28
EARLY_FAILING = 0.4  # runs that learn: adaptive at most 0.3, SGD 0.02 (one 0.48); faults from 0.52
EARLY_STEPS = 10
SHRINKING = 10**0.5  # after ten steps Adagrad's are shorter by this: its limits are higher
GROWTH_LIMIT = 16.0  # times; runs that learn at most 3.5, rates and jumps of them 16 to 7,000
GROWN = 4.0  # there it is more than that of runs that learn
MOVED = 0.01  # of the weights; steps that add up to less do not move the loss
PEAK_SHARE = 0.9  # of the highest rate: there a warm-up ends
USUAL_UPDATE = 0.1
UPDATE_UNIT = "update/weight"
SMALL_BATCH = 16  # samples; below, one step's loss is mostly noise

# Only the first steps, and those after the rate has come near its peak, are looked at.
SQL = """
SELECT
    'update_ratio' AS signal,
    l.step,
    l.param_id AS id,
    l.update_ratio AS value
FROM layers AS l
CROSS JOIN (
    SELECT
        MIN(s.step) AS peak_step
    FROM steps AS s
    CROSS JOIN (
        SELECT MAX(t.lr) AS peak_lr FROM steps AS t WHERE t.run = $run
    ) AS m
    WHERE s.run = $run
        AND s.lr >= $peak_share * m.peak_lr
) AS p
WHERE l.run = $run
    AND l.update_ratio IS NOT NULL
    AND (l.step < $early_steps OR l.step BETWEEN p.peak_step AND p.peak_step + $early_steps)
UNION ALL
SELECT m.name AS signal, m.step, 0 AS id, MAX(m.value) AS value
FROM metrics AS m
WHERE m.run = $run AND m.name LIKE 'lr/%'
GROUP BY m.name, m.step
UNION ALL
SELECT
    'norm' AS signal, n.step, n.param_id AS id, n.weight_norm AS value
FROM layers AS n
WHERE n.run = $run
    AND n.weight_norm IS NOT NULL
ORDER BY signal, step, id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sign:
    """One sign that steps are too long.

    `factor` is what the learning rate is divided by; an earlier excursion than the largest began at
    `earliest`.
    """

    strength: Strength
    earliest: int | None = None
    message: str
    step: int
    value: float
    threshold: float
    unit: str
    factor: float


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Excursion of the loss, size of the early steps; without either the growth of the weights."""
    if context.losses.size < 2:  # noqa: PLR2004 - an excursion takes two
        return NotChecked(detector=ID, reason="fewer than two losses were recorded; train longer")
    early = early_steps(rows, context, limits)
    overshoot, erased = _overshoot(context, early, limits), _erased(context, early, limits)
    group = fast_group(rows, context, limits)
    of_group = _erased(context, group, limits)
    if of_group and (erased is None or of_group.strength.size > erased.strength.size):
        early, erased = group, of_group
    blown_up = _blown_up(rows, context, limits)
    signs = [sign for sign in (overshoot, erased, blown_up) if sign is not None]
    if not signs:
        return _unseen(early, context)
    signs.sort(key=lambda sign: sign.step)
    return [_candidate(sign, signs, early, context, limits) for sign in signs]


def _unseen(early: EarlySteps | None, context: RunContext) -> NotChecked | None:
    """What would have to be known for the rule to pass: the size of steps, or a while of losses."""
    if early is not None or context.losses.size >= CATAPULT_STEPS:
        return None
    return NotChecked(
        detector=ID,
        reason=f"{context.losses.size} losses and no update of the first steps were recorded; "
        f"train for {CATAPULT_STEPS} steps, or pass the optimizer",
    )


def _candidate(
    worst: _Sign,
    signs: list[_Sign],
    early: EarlySteps | None,
    context: RunContext,
    limits: Limits,
) -> Candidate:
    own_rate = early.rate if early is not None else None
    rate = context.lr_at(worst.step) if own_rate is None else own_rate
    divisor = max(4.0, 2.0 ** math.ceil(math.log2(max(sign.factor for sign in signs))))
    divisor = min(divisor, 1024.0)
    layers = early.layers if early is not None and early.ratio >= limits["early_failing"] else ()
    level = limits["excursion_limit"] * context.loss_reference
    target = f" (from {number(rate)} to {number(rate / divisor)})" if rate > 0 else ""
    return Candidate(
        strength=worst.strength,
        message=f"{worst.message}, at learning rate {number(rate)}",
        advice=f"Divide the learning rate by {divisor:.0f}{target}, or warm it up over at least "
        f"{max(100, (context.total_steps or 0) // 50)} steps.",
        layer=layers[0] if layers else None,
        layers=layers[:10],
        first_step=min(sign.step for sign in signs),
        earliest=min(sign.step if sign.earliest is None else sign.earliest for sign in signs),
        last_step=max(last_above(context, level), *(sign.step for sign in signs)),
        value=worst.value,
        threshold=worst.threshold,
        unit=worst.unit,
        evidence={
            "rules": [sign.message for sign in signs],
            "early_update_ratio": None if early is None else early.ratio,
            "state": context.progress.state,
            "query": example(
                "layers", "step, layer, parameter, update_ratio, weight_norm", where=MATRICES
            )
            if worst.unit == UPDATE_UNIT
            else example("steps", "step, loss, lr, grad_norm_total"),
        },
    )


def _overshoot(context: RunContext, early: EarlySteps | None, limits: Limits) -> _Sign | None:
    """Medians of three, or single losses where the steps are large and the run does not learn.

    A single loss of twice the start is a hard batch in other runs: targets with heavy tails have
    them all the time.
    """
    if (context.losses < 0).any():
        return _left_its_range(context, early)
    large_steps = early is not None and early.ratio >= limits["early_failing"]
    single = large_steps and context.progress.failing and context.batch_size >= SMALL_BATCH
    width = 1 if single else sustained_width(context.batch_size)
    limit = limits["excursion_limit"]
    found = found_excursion(context, limit=limit, width=width)
    if found is None or is_chance(context, found):
        return None
    if early is not None and early.ratio * (found.place + 1) < MOVED:
        return None
    size = _overshoot_size(context, found, limits)
    if size is None:
        return None
    return _Sign(
        strength=measured(size),
        message=f"loss reached {number(found.value)}× its starting level at step "
        f"{context.loss_steps[found.place]} (limit {number(limit)}×)",
        step=int(context.loss_steps[found.begin]),
        earliest=first_above(context, found.level),
        value=found.value,
        threshold=limit,
        unit="× start",
        factor=found.value,
    )


def _left_its_range(context: RunContext, early: EarlySteps | None) -> _Sign | None:
    """A loss with negative values that ends far above its start has no level: its range counts."""
    spread = signed_range(context.losses)
    if context.state is not State.DIVERGED or not spread > 0:
        return None
    value = (context.progress.end - context.progress.start) / spread
    above = context.losses >= context.progress.start + SIGNED_RISE * spread
    place = int(np.argmax(above))
    if not above.any() or (early is not None and early.ratio * (place + 1) < MOVED):
        return None
    return _Sign(
        strength=measured(Size.TOTAL),
        message=f"loss rose by {number(value)}× the range of its first {START_LOSSES} values "
        f"(limit {SIGNED_RISE:g}×)",
        step=int(context.loss_steps[place]),
        value=value,
        threshold=SIGNED_RISE,
        unit="× first range",
        factor=value,
    )


def _overshoot_size(context: RunContext, found: Excursion, limits: Limits) -> Size | None:
    progress, naive = context.progress, context.baseline.naive
    became_nan = not np.isfinite(context.losses).all()
    is_high = found.value >= limits["excursion_error"]
    catapult = found.place <= CATAPULT_STEPS and progress.end < progress.start
    if catapult and not (is_high or became_nan or progress.failing or context.recovered):
        return None
    if not became_nan and (
        context.recovered or not progress.measurable or did_no_harm(context, found, high=is_high)
    ):
        return Size.SLIGHT
    # One first loss may be small by chance; the ten of the progress gate may hold the excursion.
    begun = float(np.median(context.losses[:FIRST_LOSSES]))
    learned = progress.improving and progress.end < STALLED_SHARE * begun
    sure = naive is not None or not learned or found.value >= EXCURSION_UNKNOWN
    if became_nan or (is_high and sure):
        return Size.TOTAL
    return Size.CLEAR if progress.failing or naive is not None else None


def _erased(context: RunContext, early: EarlySteps | None, limits: Limits) -> _Sign | None:
    if early is None:
        return None
    shrinking = SHRINKING if context.shrinks_steps else 1.0
    bounds = {name: shrinking * limits[name] for name in ("early_limit", "early_failing")}
    limit, strength = bounds["early_limit"], None
    if context.is_adaptive and early.ratio >= limit:
        strength = statistical(Size.CLEAR if context.recovered else Size.FAR)
    elif context.progress.failing and early.ratio >= bounds["early_failing"]:
        limit, strength = bounds["early_failing"], measured()
    if strength is None:
        return None
    of = "" if early.rate is None else f" of the parameter group of {and_more(early.layers)}"
    return _Sign(
        strength=strength,
        message=f"the first steps change the median weight matrix{of} by {number(early.ratio)} of "
        f"its norm (limit {number(limit)})",
        step=early.step,
        value=early.ratio,
        threshold=limit,
        unit=UPDATE_UNIT,
        factor=early.ratio / USUAL_UPDATE,
    )


def _blown_up(rows: Rows, context: RunContext, limits: Limits) -> _Sign | None:
    """The steps have made the weights many times as large, and the run fails."""
    matrices = context.network.matrices
    norms = grids(rows)["norm"].columns([matrix.id for matrix in matrices])
    if not context.progress.failing or not norms.values.size:
        return None
    floors = np.array([matrix.norm_floor for matrix in matrices])
    grown = row_medians(norms.values / np.fmax(norms.values[0], floors))
    value = float(grown[-1])
    if not limits["growth_limit"] <= value < np.inf:
        return None
    return _Sign(
        strength=measured(),
        message=f"the norm of the median weight matrix has grown to {number(value)}× its start "
        f"(limit {number(limits['growth_limit'])}×)",
        step=int(norms.steps[np.argmax(grown >= GROWN)]),
        value=value,
        threshold=limits["growth_limit"],
        unit="× start",
        factor=value,
    )


DETECTOR = Detector(
    id=ID,
    title="steps overshoot: the loss rises far above its start, or the initial weights are erased",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "excursion_limit": EXCURSION_LIMIT,
        "excursion_error": EXCURSION_ERROR,
        "early_limit": EARLY_LIMIT,
        "early_failing": EARLY_FAILING,
        "early_steps": EARLY_STEPS,
        "peak_share": PEAK_SHARE,
        "growth_limit": GROWTH_LIMIT,
    },
    advice="Divide the learning rate by at least 4, or add warm-up.",
    source="arXiv:2103.00065, arXiv:2102.06604",
    judge=judge,
    causes=(
        "update_ratio",
        "exploding_gradient",
        "loss_spike",
        "dead_units",
        "saturated_units",
        "gradient_oscillation",
        "attention_logits",
        "output_logits",
        "class_collapse",
        "layer_imbalance",
        "adam_second_moment",
        "vanishing_through_time",
        "representation_collapse",
        "loss_not_decreasing",
    ),
    acts_by=(Mechanism.GROWTH, Mechanism.LONG_STEPS),
    shown=Shown(
        unit=UPDATE_UNIT,
        normal="The loss falls from the start, and a step changes a weight by a small part of "
        "its norm.",
    ),
)
