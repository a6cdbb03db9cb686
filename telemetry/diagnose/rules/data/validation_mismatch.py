"""Nothing of what the training learns shows in the validation.

Symptom: in every evaluation the validation loss is that of the best constant answer or worse, and
it has not fallen since the first one, while the training loss ends at half of that level or less.
Fix: pass training samples through the evaluation. If the model does well on them, the validation
labels belong to other samples (shuffled, sorted or read in another order), or its inputs are
prepared otherwise (scale, normalisation, channels, vocabulary); if not, model.eval() changes the
network.
If all of this is right, the training set is learnt by heart, and its labels may be at random.
Not flagged: a validation loss that was better once (overfitting); one that falls, however high it
is, for its level or its unit may be another one; an accuracy above that of the commonest class, for
then a high loss only shows overconfidence; a training loss that has not come down clearly; a single
evaluation.
Source: Zhang et al., arXiv:1611.03530; Breck et al., Data validation for machine learning (2019).

Where the level of knowing nothing is not known, the loss at the start of training stands for it. A
validation loss beyond three times the first training loss may be in another unit: it must have
risen over at least three evaluations while the training loss fell by half.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.evaluations import EVALUATIONS_SQL, Evaluated, evaluated
from telemetry.diagnose.judgement.harm import LITTLE_SHARE, SAME_UNIT
from telemetry.diagnose.judgement.robust import median
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.wording import number
from telemetry.store.sessions.rows import Rows

ID = "validation_mismatch"
MIN_EVALUATIONS = 2
OTHER_UNIT_EVALUATIONS = 3
FALLEN_TO = 0.5  # of the training loss at the first evaluation, in another unit
LEARNED_SHARE = 0.5  # of the level: the training loss ends there or below
FALLEN_SHARE = 0.1  # of the first evaluation: a validation loss that falls by more has learned
RISE = 1.2  # over the first evaluation, where the unit may be another one
HIT = 0.5  # a share of right answers, where that of the commonest class is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """How far training came.

    Attributes:
        level: Loss of the best constant answer, or of the start where that is not known.
        end: Training loss at the end.
    """

    level: float
    end: float


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The evaluated loss with the most evaluations, against what training has reached."""
    series = evaluated(rows)
    losses = [each for each in series if each.is_loss]
    most = max(losses, key=lambda each: each.values.size, default=None)
    if most is None or most.values.size < MIN_EVALUATIONS:
        n = 0 if most is None else int(most.values.size)
        return NotChecked(
            detector=ID,
            reason=f"{n} evaluations of a validation loss; at least {MIN_EVALUATIONS} are needed: "
            "call telemetry.log(val_loss=...) after each",
        )
    progress = context.progress
    level = context.baseline.constant or context.baseline.naive or progress.start
    if not progress.measurable or not level > 0 or not np.isfinite(progress.end):
        return NotChecked(
            detector=ID,
            reason=progress.reason or "the training loss has no level to compare evaluations with",
        )
    trained = _Trained(level=level, end=progress.end)
    if not progress.improving or trained.end > limits["learned_share"] * level:
        return None
    never = [each for each in losses if _never_learns(each, trained, context)]
    answers = any(_answers(each, context) for each in series if not each.is_loss)
    if not never or len(never) < sum(e.values.size >= MIN_EVALUATIONS for e in losses) or answers:
        return None
    return _candidate(max(never, key=lambda each: each.values.size), trained, limits)


def _never_learns(loss: Evaluated, trained: _Trained, context: RunContext) -> bool:
    values = loss.values
    if values.size < MIN_EVALUATIONS or not values[0] > 0:
        return False
    least = float(values.min())
    stays = least >= (1 - FALLEN_SHARE) * values[0] and median(values[-3:]) >= least
    if not stays or least < trained.level:
        return False
    if values[0] <= SAME_UNIT * max(trained.level, context.first_loss):
        return True
    at = int(np.searchsorted(context.loss_steps, loss.steps[0]))
    window = max(3, context.losses.size // 20)
    then = median(context.losses[max(0, at - window) : at + window])
    fell = trained.end <= FALLEN_TO * then
    rose = median(values[-3:]) >= RISE * values[0]
    return values.size >= OTHER_UNIT_EVALUATIONS and rose and fell


def _answers(metric: Evaluated, context: RunContext) -> bool:
    """A share of right answers that knowing nothing does not reach."""
    shares = -metric.values
    if not shares.size or not ((shares >= 0) & (shares <= 1)).all():
        return False
    commonest = context.baseline.commonest
    floor = HIT if commonest is None else commonest + LITTLE_SHARE * (1 - commonest)
    return float(shares.max()) >= floor


def _candidate(loss: Evaluated, trained: _Trained, limits: Limits) -> Candidate:
    n = int(loss.values.size)
    least = float(loss.values.min())
    return Candidate(
        strength=measured(Size.CLEAR),
        message=f"{loss.name} is {number(least)} or more in all {n} evaluations, and has not "
        f"fallen since the first; the best constant answer scores "
        f"{number(trained.level)}, and the training loss ends at {number(trained.end)}",
        advice="Evaluate a batch of training samples in the same way: if the model does well "
        "on it, compare how both sets pair inputs with labels and how both are scaled; if not, "
        "look for what model.eval() changes.",
        first_step=int(loss.steps[0]),
        last_step=int(loss.steps[-1]),
        value=least / trained.level,
        threshold=1.0,
        unit="of the loss of knowing nothing",
        evidence={
            "metric": loss.name,
            "level": trained.level,
            "train_loss": trained.end,
            "learned_share": limits["learned_share"],
            "query": "select step, name, value from metrics where phase = 'eval' "
            "and value is not null order by step",
        },
    )


DETECTOR = Detector(
    id=ID,
    title="nothing of what training learns shows in the validation",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS, Need.EVALUATION),
    sql=EVALUATIONS_SQL,
    parameters={"learned_share": LEARNED_SHARE},
    advice="Evaluate training samples like validation samples, and compare labels and inputs.",
    source="arXiv:1611.03530",
    judge=judge,
    caused_by=("train_eval_mode", "label_noise", "input_scale"),
    causes=("overfitting",),
    shown=Shown(
        normal="The validation loss falls with the training loss, and is below that of the best "
        "constant answer.",
    ),
)
