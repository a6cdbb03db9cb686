"""Updates are smaller than half a unit in the last place of the weights, and vanish.

Symptom: weights are kept in bfloat16 or float16, and while the loss has not yet made half of its
fall, at a full learning rate, rounding takes three tenths of the intended updates or more.
Fix: keep the weights in float32 (autocast the forward instead), round stochastically, or raise the
learning rate.
Not flagged: autocast, which leaves the weights in float32; steps of a network that has learned,
which are small and lost without harm; a decayed learning rate; steps a loss scaler skipped.
Information: a run that has converged; fine-tuning, which starts far below the loss of knowing
nothing and wants small steps; runs that learn by optimizers whose intended update telemetry does
not know (they may round stochastically or compensate).
Source: Zamirai et al., arXiv:2010.06192.

Measured on digits, bfloat16 and Adam, steps 20 to 150: 0.00 at rate 3e-3 (accuracy as in float32),
0.09 at 3e-4 (5 points lost), 0.77 at 1e-4 (0.46 against 0.88), 0.94 at 3e-5 (0.13 against 0.66).
Later in the run the healthy ones reach 0.48 and momentum SGD that has converged 0.76.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import PERSISTENT_K, Persistence, persistence
from telemetry.diagnose.judgement.progress import LARGE_DROP, SIGNAL_LIMIT, SIGNED, State
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray, row_medians
from telemetry.diagnose.judgement.severity import Size, measured, statistical
from telemetry.diagnose.tags import Tag
from telemetry.diagnose.wording import and_more, of_parameters
from telemetry.store.sessions.rows import Rows

ID = "low_precision_updates"
LOST_LIMIT = 0.3  # between 0.09 and 0.62 in the logit; healthy at most 0.02, hurt from 0.62
LOST_ERROR = 0.8  # with a run that does not learn
# Of the elements. Where both are known, shares of 0.81 to 0.87 go with 0.36 to 0.79 of the mass;
# before half is learned healthy runs have at most 0.41, and 0.68 to 0.79 do not tell.
STUCK_LIMIT = 0.8
RAMP_STEPS = 10  # until a momentum of 0.9 is full, steps of SGD are smaller than they will be
SMOOTHED_PART = 40  # of the run: the width of the median of the losses
LEARNED = 0.5  # of the loss fell before three samples were taken: nothing that matters was lost
FULL_RATE = 0.5  # of the largest learning rate
TUNING_SHARE = 0.7  # of the loss of knowing nothing: a run that starts below has been trained
LOW_PRECISION = frozenset({"bfloat16", "float16"})

SQL = """
SELECT
    p.step,
    p.param_id,
    MAX(p.lost_mass) AS lost_mass,
    CAST(MAX(p.n_stuck) AS DOUBLE) / MAX(p.n_sampled) AS stuck_share,
    MAX(s.lr) AS lr
FROM tensor_points AS p
JOIN tensors AS t
    ON t.run = p.run
    AND t.tensor_id = p.param_id
JOIN steps AS s
    ON s.run = p.run
    AND s.step = p.step
WHERE p.run = $run
    AND p.kind = 'update'
    AND p.n_sampled > 0
    AND t.dtype IN ('bfloat16', 'float16')
    AND t.lr_group IS NOT NULL
    AND MOD(s.flags, 4) < 2
GROUP BY p.step, p.param_id
ORDER BY p.step, p.param_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost:
    """Shares of the early samples; columns are matrices in the order of execution."""

    steps: IntArray
    shares: FloatArray  # (n_samples, n_matrices)
    full_rate: BoolArray
    names: tuple[str, ...]
    known: bool  # of the intended update, else of elements that stand still

    @property
    def medians(self) -> FloatArray:
        """Over the matrices, shape (n_samples,)."""
        return row_medians(self.shares)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The median over the matrices, before half is learned."""
    held = [p for p in context.network.matrices if p.dtype in LOW_PRECISION]
    if not any(p.lr_group is not None for p in held):
        return None
    lost = _early(rows, context)
    if lost is None or int(lost.full_rate.sum()) < PERSISTENT_K:
        if context.progress.r >= LEARNED:
            return None
        return NotChecked(
            detector=ID,
            reason=f"fewer than {PERSISTENT_K} sampled steps after step {_start(context)} at "
            "the full learning rate while the loss fell; train longer, or sample more "
            "often",
        )
    limit = limits["lost_limit" if lost.known else "stuck_limit"]
    # Steps at a small rate are left out, not counted as steps that lose nothing.
    kept = np.flatnonzero(lost.full_rate)
    stays = persistence(lost.steps[kept], lost.medians[kept] >= limit)
    if stays is not None:
        return _finding(lost, kept, stays, context, limits)
    if lost.known:
        return None
    return NotChecked(
        detector=ID, reason="telemetry does not know which update this optimizer intends"
    )


def _early(rows: Rows, context: RunContext) -> _Lost | None:
    lr = context.steps.lr
    peak = float(np.nanmax(lr)) if np.isfinite(lr).any() else np.nan
    last = _half_learned(context)
    step = rows.ints("step")
    early = (step >= _start(context)) & (step <= last)
    values = rows.floats("lost_mass")
    known = bool(np.isfinite(values[early]).any())
    values = values if known else rows.floats("stuck_share")
    matrices = {p.id: place for place, p in enumerate(context.network.matrices)}
    kept = np.flatnonzero(early & np.isin(rows.ints("param_id"), list(matrices)))
    if not kept.size:
        return None
    steps, sample = np.unique(step[kept], return_inverse=True)
    shares = np.full((steps.size, len(matrices)), np.nan)
    rates = np.full(steps.size, np.nan)
    places = [matrices[int(identity)] for identity in rows.ints("param_id")[kept]]
    shares[sample, places] = values[kept]
    rates[sample] = rows.floats("lr")[kept]
    return _Lost(
        steps=steps,
        shares=shares,
        full_rate=~(rates < FULL_RATE * peak),
        names=tuple(p.layer for p in context.network.matrices),
        known=known,
    )


def _start(context: RunContext) -> int:
    """First step that is looked at: Adam's steps are never larger than the first."""
    return 0 if context.is_adaptive else RAMP_STEPS


def _half_learned(context: RunContext) -> float:
    """Step at which the loss has made half of its fall; none in a run that has hardly learned."""
    progress, losses = context.progress, context.losses
    fell = progress.improving and progress.r >= LARGE_DROP
    if not (fell or _falls_through_zero(context)):
        return float("inf")
    width = max(3, losses.size // SMOOTHED_PART)
    if losses.size < width:
        return float("inf")
    windows = np.lib.stride_tricks.sliding_window_view(losses, width)
    low = np.median(windows, axis=1) <= (progress.start + progress.end) / 2
    return float(context.loss_steps[int(np.argmax(low))]) if low.any() else float("inf")


def _finding(
    lost: _Lost, kept: IntArray, stays: Persistence, context: RunContext, limits: Limits
) -> Candidate:
    where = kept[stays.where]
    share = float(np.median(lost.medians[where]))
    by_layer = row_medians(lost.shares[where].T)
    limit = limits["lost_limit" if lost.known else "stuck_limit"]
    order = np.argsort(-np.nan_to_num(by_layer, nan=-1.0), kind="stable")
    layers = tuple(dict.fromkeys(lost.names[i] for i in order if by_layer[i] >= limit))
    what = (
        f"{share:.0%} of the updates that the optimizer intends for {and_more(layers)}"
        if lost.known
        else f"{share:.0%} of the elements of {and_more(layers)} have a gradient but do not "
        "change: their updates"
    )
    return Candidate(
        strength=measured(_size(share, context, limits)) if lost.known else statistical(),
        message=(
            f"{what} are rounded away because the weights have low precision (limit {limit:.0%})"
        ),
        advice="Keep the weights in float32 and run the forward under autocast, or use an "
        "optimizer with float32 master weights or stochastic rounding; otherwise raise "
        "the learning rate.",
        layer=layers[0],
        layers=layers,
        first_step=stays.first_step,
        last_step=stays.last_step,
        # Steps at smaller rates, as of a warm-up, lose no less.
        earliest=0 if stays.where[0] == 0 else None,
        value=share,
        threshold=limit,
        unit="share",
        evidence={
            "n_samples": int(where.size),
            "state": context.progress.state,
            "query": of_parameters(
                "p.step, t.module as layer, t.name as parameter, p.lost_mass, 1.0 * p.n_stuck / "
                "nullif(p.n_sampled, 0) as stuck_share",
                where="kind = 'update'",
            ),
        },
    )


def _size(share: float, context: RunContext, limits: Limits) -> Size:
    progress = context.progress
    size = Size.FAR if share >= limits["lost_error"] else Size.CLEAR
    if progress.failing:
        return size
    judged = progress.measurable or _falls_through_zero(context)
    if progress.state is State.CONVERGED or not judged or _is_tuning(context):
        return Size.SLIGHT
    return size


def _falls_through_zero(context: RunContext) -> bool:
    """A loss with negative values has no level, but is seen to fall; that of a policy is not."""
    return context.progress.reason == SIGNED and context.progress.z >= SIGNAL_LIMIT


def _is_tuning(context: RunContext) -> bool:
    """The run starts far below what knowing nothing costs, or says so."""
    level = context.baseline.constant or context.baseline.naive
    trained = level is not None and context.progress.start <= TUNING_SHARE * level
    return trained or Tag.FINE_TUNE in context.tags


DETECTOR = Detector(
    id=ID,
    title="updates are rounded away because the weights have low precision",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.UPDATE,),
    sql=SQL,
    parameters={
        "lost_limit": LOST_LIMIT,
        "lost_error": LOST_ERROR,
        "stuck_limit": STUCK_LIMIT,
    },
    advice="Keep the weights in float32, round stochastically, or raise the learning rate.",
    source="arXiv:2010.06192",
    judge=judge,
    # What rounds the update makes a step small at any rate, and a network that is hardly
    # moved keeps the short reach it starts with.
    causes=("learning_rate_too_low", "vanishing_through_time", "loss_not_decreasing"),
    softened_by=(Tag.FINE_TUNE,),
    shares=(
        "lost_limit",
        "lost_error",
        "stuck_limit",
    ),
    shown=Shown(
        unit="share",
        normal="Almost nothing of an update is lost to rounding, as with float32 weights.",
    ),
)
