"""Validation gets worse while training still improves.

Symptom: the validation loss has risen by a fifth above its best and a validation metric has fallen
beyond its noise, for at least three evaluations, while the training loss fell on.
Fix: keep the checkpoint of the best step, stop there, add augmentation or weight decay.
Not flagged: a validation loss that rises while accuracy holds (confidence, not errors: that is
information); training loss above validation loss (dropout); fewer than five evaluations; a rise
within the noise; a run that does not learn, whose evaluations only wander.
Source: Zhang et al., arXiv:1611.03530.

Without a metric of quality the loss alone decides: a rise of a fifth that is also a tenth of the
loss of random guessing, or a rise of one half where that loss is not known. A validation loss that
was better than random guessing and is now worse decides, whatever the metrics say.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.evaluations import EVALUATIONS_SQL, Evaluated, evaluated
from telemetry.diagnose.judgement.robust import median, step_noise, trend
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.tags import Tag
from telemetry.diagnose.wording import number
from telemetry.store.sessions.rows import Rows

ID = "overfitting"
RISE_LIMIT = 1.2  # last over best validation loss
RISE_ALONE = 1.5  # where neither a metric nor a level says that it hurts
LEVEL_SHARE = 0.1  # of the level of knowing nothing
BETTER = 0.9  # of the naive level: the model knew something ...
WORSE = 1.2  # ... and its confidence now costs more than knowing nothing
METRIC_NOISES = 3.0
METRIC_SHARE = 0.02  # least relative fall of a metric that counts
MIN_EVALUATIONS = 5
AFTER_BEST = 3
TREND_Z = 1.5


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The validation loss with the largest rise, and whether a metric agrees."""
    series = evaluated(rows)
    losses = [s for s in series if s.is_loss and s.values.size >= MIN_EVALUATIONS]
    metrics = [s for s in series if not s.is_loss and s.values.size >= MIN_EVALUATIONS]
    if not losses and not metrics:
        most = max((s.values.size for s in series), default=0)
        return NotChecked(
            detector=ID,
            reason=f"{most} evaluations of a validation loss, or of a metric that is known to "
            f"be better high or low; at least {MIN_EVALUATIONS} are needed",
        )
    if context.progress.failing:
        return None
    fallen = [metric for metric in metrics if _has_fallen(metric, limits)]
    rising = [loss for loss in losses if _rise(loss) >= limits["rise_limit"] and _is_rising(loss)]
    if rising:
        loss = max(rising, key=_rise)
        if not _train_improves(context, int(loss.steps[loss.best])):
            return None
        return _finding(
            context,
            loss,
            fallen,
            size=_size(context, loss, metrics, fallen),
            limit=limits["rise_limit"],
        )
    if fallen and not losses and _train_improves(context, int(fallen[0].steps[fallen[0].best])):
        return _finding(context, fallen[0], fallen, size=Size.CLEAR, limit=1.0)
    return None


def _rise(loss: Evaluated) -> float:
    best = float(loss.smooth[loss.best])
    return float(median(loss.values[-3:]) / best) if best > 0 else 0.0


def _is_rising(loss: Evaluated) -> bool:
    after = loss.values[loss.best :]
    return after.size > AFTER_BEST and trend(after)[1] >= TREND_Z


def _has_fallen(metric: Evaluated, limits: Limits) -> bool:
    best = float(metric.smooth[metric.best])
    drop = median(metric.values[-3:]) - best
    noise = step_noise(metric.values)
    after = metric.values.size - metric.best
    enough = drop >= max(limits["metric_noises"] * noise, METRIC_SHARE * abs(best))
    return bool(after > AFTER_BEST and drop > 0 and enough)


def _train_improves(context: RunContext, best_step: int) -> bool:
    """The training loss at the end lies below its level around the best evaluation."""
    losses = context.losses
    window = max(3, losses.size // 20)
    place = int(np.searchsorted(context.loss_steps, best_step))
    around = losses[max(0, place - window) : place + window + 1]
    return bool(median(losses[-window:]) < median(around))


def _size(
    context: RunContext, loss: Evaluated, metrics: list[Evaluated], fallen: list[Evaluated]
) -> Size:
    best, last = float(loss.smooth[loss.best]), median(loss.values[-3:])
    naive = context.baseline.naive
    lost = naive is not None and best <= BETTER * naive and last >= WORSE * naive
    if fallen or lost:
        return Size.CLEAR
    if metrics:
        return Size.SLIGHT
    level = context.baseline.constant or naive
    rise = last - best
    hurts = _rise(loss) >= RISE_ALONE if level is None else rise >= LEVEL_SHARE * level
    return Size.CLEAR if hurts else Size.SLIGHT


def _finding(
    context: RunContext,
    loss: Evaluated,
    fallen: list[Evaluated],
    *,
    size: Size,
    limit: float,
) -> Candidate:
    best_step = int(loss.steps[loss.best])
    last = median(loss.values[-3:])
    best = float(loss.smooth[loss.best])
    parts = [
        f"{loss.name} went from {number(abs(best))} at step {best_step} to {number(abs(last))}"
    ]
    parts += [
        f"{metric.name} from {number(abs(float(metric.smooth[metric.best])))} to "
        f"{number(abs(median(metric.values[-3:])))}"
        for metric in fallen[:2]
        if metric is not loss
    ]
    held = "" if fallen else "; no metric fell"
    is_loss = loss.is_loss
    return Candidate(
        strength=measured(size),
        message=f"{', '.join(parts)} while the training loss fell on{held}",
        advice=f"Keep the checkpoint of step {best_step} and stop there; add augmentation, weight "
        "decay or dropout, or more data.",
        first_step=best_step,
        last_step=int(loss.steps[-1]),
        value=_rise(loss) if is_loss else abs(last / best),
        threshold=limit,
        unit="last/best",
        evidence={
            "best_step": best_step,
            "n_evaluations": int(loss.values.size),
            "metrics_fallen": [metric.name for metric in fallen],
            "state": context.progress.state,
            "query": "select step, name, value from metrics where phase = 'eval' order by step",
        },
    )


DETECTOR = Detector(
    id=ID,
    title="validation gets worse while training improves",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.EVALUATION, Need.LOSS),
    sql=EVALUATIONS_SQL,
    parameters={"rise_limit": RISE_LIMIT, "metric_noises": METRIC_NOISES},
    advice="Keep the best checkpoint, stop earlier, regularise, or get more data.",
    source="arXiv:1611.03530",
    judge=judge,
    explains_symptoms=False,
    silenced_by=(Tag.OVERFIT_ONE_BATCH,),
    shown=Shown(
        normal="The validation loss falls, then stays near its best while training goes on.",
    ),
)
