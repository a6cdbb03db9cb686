"""The loss jumps above its recent level and stays there for a while.

Symptom: the median of five losses, or of 32 samples' losses where batches are small, is 1.5 times
the median of the 50 before, above all of them, and ten times the noise of one step above their
median.
Fix: look at the batch of that step, clip the gradient norm, lower beta2 of Adam or the learning
rate.
Not flagged: single hard batches, which small batches have all the time; jumps below a tenth of the
starting level; the rise after a warm restart of the learning rate; weights that are reset within
the run, as for each fold: their norm is that of the start again, and the loss no higher; the stages
of a curriculum, which forward more in a step, and new tasks, with labels of classes that no sampled
step before had; a spike that has recovered before half of what was left of the run is information,
unless there are three per thousand steps; losses that do not measure progress.
Source: Chowdhery et al., arXiv:2204.02311; Wortsman et al., arXiv:2304.09871.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import LASTING_SHARE, sustained_width
from telemetry.diagnose.judgement.other_data import forwards_more, meets_new_classes
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, recent_medians, step_noise
from telemetry.diagnose.judgement.severity import Size, Strength, measured
from telemetry.diagnose.wording import number
from telemetry.store.sessions.rows import Rows

ID = "loss_spike"
NOISE_FACTOR = 10.0
LEVEL_FACTOR = 1.5
RECENT = 50
MIN_RECENT = 20
SUSTAINED = 5  # losses whose median must jump, or more where batches are small
FLOOR_SHARE = 0.1  # of the starting level: a jump from nothing to little is no spike
RECOVERY_NOISE = 3.0
FREQUENT = 3  # spikes, and per thousand steps
RESTART_RISE = 1.5  # rise of the learning rate that explains a jump ...
RESTART_STEPS = 30  # ... within this many steps before it

MOVED = 0.05  # of the first norm of the weights: training has changed it ...
ANEW_SHARE = 0.25  # ... and no more than this of the change is left where they were made anew
SAME_LEVEL = 1.1  # times the first losses: weights made anew cost no more

SQL = """
SELECT
    'step' AS what, s.step, AVG(s.loss) AS loss, MAX(s.lr) AS lr, CAST(NULL AS DOUBLE) AS norm,
    SUM(s.samples) AS samples, CAST(NULL AS BLOB) AS labels
FROM steps AS s
WHERE s.run = $run
    AND s.loss IS NOT NULL
GROUP BY s.step
UNION ALL
SELECT
    'norm' AS what,
    l.step,
    CAST(NULL AS DOUBLE) AS loss,
    CAST(NULL AS DOUBLE) AS lr,
    SQRT(SUM(l.weight_norm * l.weight_norm)) AS norm,
    NULL AS samples,
    NULL AS labels
FROM layers AS l
WHERE l.run = $run
    AND l.weight_norm IS NOT NULL
GROUP BY l.step
UNION ALL
SELECT
    'labels' AS what, r.step, NULL AS loss, NULL AS lr, NULL AS norm, NULL AS samples,
    MAX(r.profile) AS labels
FROM module_rows AS r
WHERE r.run = $run
    AND r.phase = 'train'
    AND r.site = 'target'
    AND r.n_profile > 1
GROUP BY r.step
ORDER BY what, step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spike:
    """One jump; `end` is the place where the loss was back, None if it never was.

    Below `floor` a level is that of a perfect fit: a ratio to it means nothing.
    """

    place: int
    end: int | None
    usual: float
    reached: float
    floor: float

    @property
    def height(self) -> float:
        """Times the loss before, or the floor; infinite where both are nothing."""
        before = max(self.usual, self.floor)
        return self.reached / before if before > 0 else math.inf

    def lasts(self, n_losses: int) -> bool:
        """Half of what came after it was spent above the level before, or it never came back."""
        left = LASTING_SHARE * (n_losses - self.place)
        return self.end is None or self.end - self.place >= left

    @property
    def said(self) -> str:
        """The jump in words."""
        if self.usual > self.floor:
            return f"{number(self.height)}× the median of the 50 steps before"
        return (
            f"{number(self.reached)} after a median of {number(self.usual)} in the 50 steps before"
        )


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Sustained jumps of the loss, those after a restart left out: of the rate or the weights."""
    told, norms = rows.part("what", "step"), rows.part("what", "norm")
    losses, steps = told.floats("loss"), told.ints("step")
    if losses.size < MIN_RECENT + SUSTAINED:
        return NotChecked(
            detector=ID,
            reason=f"{losses.size} losses were recorded; at least 25 are needed to see a spike",
        )
    if (losses[np.isfinite(losses)] < 0).any():
        return NotChecked(
            detector=ID,
            reason="the loss has negative values, so a ratio to its median means nothing",
        )
    spikes = [
        spike
        for spike in _spikes(losses, context, limits)
        if not _follows_restart(told.floats("lr"), spike.place)
        and not _made_anew(norms, steps, losses, spike.place)
        and not _other_data(rows, spike.place)
    ]
    if not spikes:
        return None
    lasting = [spike for spike in spikes if spike.lasts(losses.size)]
    rate = 1000 * len(spikes) / losses.size
    is_warning = bool(lasting) or (len(spikes) >= FREQUENT and rate >= FREQUENT)
    worst = max(spikes, key=lambda s: (s.height, s.reached))
    return _finding(
        context,
        steps,
        spikes,
        worst,
        strength=measured(_size(context) if is_warning else Size.SLIGHT),
        limit=limits["level_factor"],
    )


def _size(context: RunContext) -> Size:
    if not context.progress.measurable:
        return Size.SLIGHT
    return Size.TOTAL if context.progress.state is State.DIVERGED else Size.CLEAR


def _spikes(losses: FloatArray, context: RunContext, limits: Limits) -> list[_Spike]:
    finite = np.where(np.isfinite(losses), losses, np.nan)
    level = context.loss_reference if context.loss_reference > 0 else 0.0
    noise = step_noise(finite)
    floor = FLOOR_SHARE * level
    rise = max(limits["noise_factor"] * noise, floor)
    width = max(SUSTAINED, sustained_width(context.batch_size))
    before = recent_medians(finite, width=RECENT, at_least=MIN_RECENT, rise=rise)
    found: list[_Spike] = []
    free_from = 0
    for place in np.flatnonzero((finite > before) & (finite - before >= rise)).tolist():
        usual = float(before[place])
        recent, here = finite[max(0, place - RECENT) : place], finite[place : place + width]
        if place < free_from or here.size < width:
            continue
        reached = float(np.nanmedian(here))
        if reached - usual < rise or not _stands_out(recent, usual, reached, limits):
            continue
        end = _recovered(finite, place, usual + RECOVERY_NOISE * noise)
        found.append(_Spike(place=place, end=end, usual=usual, reached=reached, floor=floor))
        free_from = finite.size if end is None else end
    return found


def _stands_out(recent: FloatArray, usual: float, reached: float, limits: Limits) -> bool:
    """The median of some losses is above all of the 50 before, and above their own noise.

    Whatever the distribution of the batches' losses, so many in a row seldom do that.
    """
    above_noise = reached - usual >= limits["noise_factor"] * step_noise(recent)
    return above_noise and reached >= max(float(np.nanmax(recent)), limits["level_factor"] * usual)


def _recovered(losses: FloatArray, place: int, level: float) -> int | None:
    """First place after which five losses have a median at the level again."""
    later = losses[place:]
    if later.size < SUSTAINED:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(later, SUSTAINED)
    back = np.flatnonzero(np.median(windows, axis=1) <= level)
    return None if not back.size else place + int(back[0])


def _follows_restart(rates: FloatArray, place: int) -> bool:
    recent = rates[max(0, place - RESTART_STEPS) : place + 1]
    known = recent[np.isfinite(recent)]
    return bool(known.size and known[-1] > 0 and known[-1] >= RESTART_RISE * known.min())


def _other_data(rows: Rows, place: int) -> bool:
    told, labels = rows.part("what", "step"), rows.part("what", "labels")
    if forwards_more(told.floats("samples"), place, recent=RECENT):
        return True
    steps = told.ints("step")
    end = int(steps[min(place + RECENT, steps.size - 1)])
    return meets_new_classes(
        labels.ints("step"), labels.blobs("labels"), first=int(steps[place]), until=end
    )


def _made_anew(norms: Rows, steps: IntArray, losses: FloatArray, place: int) -> bool:
    """The norm of all weights is back at that of the start, and so is the loss."""
    at, values = norms.ints("step"), norms.floats("norm")
    recent = (at >= steps[max(0, place - RECENT)]) & (at < steps[place])
    later = np.flatnonzero(at >= steps[place])
    if not recent.any() or not later.size:
        return False
    moved = float(np.abs(values[recent] - values[0]).max())
    left = float(np.abs(values[later[0]] - values[0]))
    start, here = (np.nanmedian(losses[i : i + SUSTAINED]) for i in (0, place))
    back = moved >= MOVED * values[0] and left <= ANEW_SHARE * moved
    return bool(back and here <= SAME_LEVEL * start)


def _finding(
    context: RunContext,
    steps: IntArray,
    spikes: Sequence[_Spike],
    worst: _Spike,
    *,
    strength: Strength,
    limit: float,
) -> Candidate:
    recovered = [s.end is not None for s in spikes]
    back = "" if all(recovered) else ", and the loss did not recover"
    last = spikes[-1].end
    return Candidate(
        strength=strength,
        message=f"loss {worst.said} at step {steps[worst.place]} (limit {limit:g}×), "
        f"{len(spikes)} spike{'s' if len(spikes) > 1 else ''} in {steps.size} "
        f"steps{back}",
        advice="Look at the batch of that step; clip the gradient norm, lower the learning rate "
        "or Adam's beta2 (to 0.95), or skip such steps.",
        first_step=int(steps[spikes[0].place]),
        last_step=int(steps[-1] if last is None else steps[last]),
        value=worst.height,
        threshold=limit,
        unit="× recent median",
        evidence={
            "steps": [int(steps[spike.place]) for spike in spikes[:20]],
            "n_spikes": len(spikes),
            "n_recovered": sum(recovered),
            "state": context.progress.state,
            "query": "select step, loss, lr, grad_norm_total from steps order by step",
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the loss jumps above its recent level",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={"noise_factor": NOISE_FACTOR, "level_factor": LEVEL_FACTOR},
    advice="Look at the batch, clip the gradient norm, lower beta2 or the learning rate.",
    source="arXiv:2204.02311, arXiv:2304.09871",
    judge=judge,
    causes=("non_finite",),
    acts_by=(Mechanism.GROWTH,),
    shown=Shown(
        normal="The loss stays within its noise around its recent median.",
    ),
)
