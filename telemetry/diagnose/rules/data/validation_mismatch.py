"""Nothing of what the training learns shows in the validation.

Symptom: (1) in every evaluation the validation loss is that of the best constant answer or worse,
and it has not fallen since the first one, while the training loss ends at half of that level or
less, or lower at all while the validation loss rises with every evaluation; (2) a metric stays at
what knowing nothing scores (accuracy at the share of the commonest class, R2 at 0, AUC at a half),
in one evaluation or more, and no evaluated loss is better than that; (3) the validation loss is the
same number, to the last digit, in every evaluation, while the training loss falls.
Fix: pass training samples through the evaluation. If the model does well on them, the validation
labels belong to other samples (shuffled, sorted or read in another order), or its inputs are
prepared otherwise (scale, normalisation, channels, vocabulary); if not, another model is evaluated
than the one that is trained, or model.eval() changes the network.
If all of this is right, the training set is learnt by heart, and its labels may be at random.
Not flagged: a validation loss that was better once (overfitting); one that falls, however high it
is, for its level or its unit may be another one; an accuracy above that of the commonest class, for
then a high loss only shows overconfidence; a training loss that has not come down clearly; a single
evaluation of a loss; accuracies of sequences, which need all of their places right.
Source: Zhang et al., arXiv:1611.03530; Breck et al., Data validation for machine learning (2019).

Where the level of knowing nothing is not known, the loss at the start of training stands for it. A
validation loss beyond three times the first training loss may be in another unit: it must have
risen over at least three evaluations while the training loss fell by half.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.evaluations import Evaluated, evaluated
from telemetry.diagnose.judgement.harm import LITTLE_SHARE, NOTHING_SHARE, SAME_UNIT
from telemetry.diagnose.judgement.known_nothing import score_of_nothing
from telemetry.diagnose.judgement.robust import median, trend
from telemetry.diagnose.judgement.severity import Size, exact, measured
from telemetry.diagnose.wording import number
from telemetry.store.sessions.rows import Rows

ID = "validation_mismatch"
MIN_EVALUATIONS = 2
OTHER_UNIT_EVALUATIONS = 3
FALLEN_TO = 0.5  # of the training loss at the first evaluation, in another unit
LEARNED_SHARE = 0.5  # of the level: the training loss ends there or below
FALLEN_SHARE = 0.1  # of the first evaluation: a validation loss that falls by more has learned
RISE = 1.2  # over the first evaluation, where the unit may be another one
RISING_EVALUATIONS = 5
RISING_Z = 2.4  # of Kendall: five of five in ascending order
HIT = 0.5  # a share of right answers, where that of the commonest class is not known
METRIC_SHARE = 0.1  # of what a metric can gain: what a hundred samples reach by chance
SAME_EVALUATIONS = 3
DIGITS = 5  # a number that ends there may have been rounded
COMPARE = (
    "Evaluate a batch of training samples in the same way: if the model does well on it, compare "
    "how both sets pair inputs with labels and how both are scaled; if not, look for what "
    "model.eval() changes, and whether the model evaluated is the one trained."
)
SHOWN = (
    "select step, name, value from metrics where phase = 'eval' and value is not null order by step"
)

SQL = """
SELECT m.name, m.step, MAX(m.value) AS value
FROM metrics AS m
WHERE m.run = $run
    AND m.phase = 'eval'
    AND m.value IS NOT NULL
GROUP BY m.name, m.step
UNION ALL
SELECT '' AS name, r.step, SUM(r.n) AS value
FROM module_numbers AS r
JOIN modules AS m ON m.run = r.run AND m.module_id = r.module_id
WHERE r.run = $run AND r.phase = 'train' AND m.path = '' AND r.site = 'target'
GROUP BY r.step
ORDER BY name, step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """How far training came.

    Attributes:
        level: Loss of the best constant answer, or of the start where that is not known.
        end: Training loss at the end.
        clearly: It has come down to the share of the level that counts as learned.
    """

    level: float
    end: float
    clearly: bool


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Evaluated losses, or metrics where there are none, against what training has reached."""
    series = [each for each in evaluated(rows) if each.values.size]
    most = max((each.values.size for each in series), default=0)
    progress = context.progress
    level = context.baseline.constant or context.baseline.naive or progress.start
    if series and not (progress.measurable and level > 0 and np.isfinite(progress.end)):
        return NotChecked(
            detector=ID,
            reason=progress.reason or "the training loss has no level to compare evaluations with",
        )
    found = None
    if series and progress.improving:
        clearly = progress.end <= limits["learned_share"] * level
        trained = _Trained(level=level, end=progress.end, clearly=clearly)
        commonest = context.baseline.commonest if _has_one_label(rows, context) else None
        found = _shows_nothing(series, trained, context, commonest=commonest)
    if found is None and most < MIN_EVALUATIONS:
        return NotChecked(
            detector=ID,
            reason=f"{most} evaluations of a validation loss, or of a metric that is known to be "
            f"better high or low; at least {MIN_EVALUATIONS} are needed: call "
            "telemetry.log(val_loss=...) after each",
        )
    return found


def _shows_nothing(
    series: Sequence[Evaluated], trained: _Trained, context: RunContext, *, commonest: float | None
) -> Candidate | None:
    """Losses that stay at knowing nothing; metrics that do, where no loss says otherwise."""
    losses = [each for each in series if each.is_loss]
    metrics = [each for each in series if not each.is_loss]
    often = [each for each in losses if each.values.size >= MIN_EVALUATIONS]
    if often and all(_is_one_number(each) for each in often):
        return _one_number(often[0], trained)
    if any(_answers(each, context) for each in metrics):
        return None
    if often and all(_never_learns(each, trained, context) for each in often):
        return _never(max(often, key=lambda each: each.values.size), trained)
    knows = any(each.values.min() < (1 - NOTHING_SHARE) * trained.level for each in losses)
    return None if knows or not trained.clearly else _of_metric(metrics, trained, commonest)


def _never_learns(loss: Evaluated, trained: _Trained, context: RunContext) -> bool:
    values = loss.values
    if not values[0] > 0:
        return False
    least, last = float(values.min()), median(values[-3:])
    stays = least >= (1 - FALLEN_SHARE) * values[0] and last >= least
    if not stays or least < (1 - NOTHING_SHARE) * trained.level:
        return False
    if not trained.clearly:
        # What training gained is little: only one that turns from it shows that it gained nothing.
        rises = values.size >= RISING_EVALUATIONS and trend(values)[1] >= RISING_Z
        return rises and last >= max(trained.level, values[0]) and _is_of(loss, trained, context)
    if _is_of(loss, trained, context):
        return True
    at = int(np.searchsorted(context.loss_steps, loss.steps[0]))
    window = max(3, context.losses.size // 20)
    then = median(context.losses[max(0, at - window) : at + window])
    fell = trained.end <= FALLEN_TO * then
    return values.size >= OTHER_UNIT_EVALUATIONS and last >= RISE * values[0] and fell


def _is_of(loss: Evaluated, trained: _Trained, context: RunContext) -> bool:
    """In the unit of the training loss."""
    return bool(loss.values[0] <= SAME_UNIT * max(trained.level, context.first_loss))


def _is_one_number(loss: Evaluated) -> bool:
    """The same in all evaluations, with too many digits to have been rounded."""
    value = float(loss.values[0])
    is_same = loss.values.size >= SAME_EVALUATIONS and bool((loss.values == value).all())
    return is_same and abs(value - round(value, DIGITS)) > abs(value) * 2**-23


def _answers(metric: Evaluated, context: RunContext) -> bool:
    """A share of right answers that knowing nothing does not reach."""
    shares = -metric.values
    if not ((shares >= 0) & (shares <= 1)).all():
        return False
    commonest = context.baseline.commonest
    floor = HIT if commonest is None else commonest + LITTLE_SHARE * (1 - commonest)
    return float(shares.max()) >= floor


def _has_one_label(rows: Rows, context: RunContext) -> bool:
    """Each sample has one label: an accuracy is the share of the samples that are right."""
    labels = rows.part("name", "")
    samples = dict(zip(context.steps.step.tolist(), context.steps.samples.tolist(), strict=True))
    known = [samples.get(step, np.nan) for step in labels.ints("step").tolist()]
    return bool(known) and not bool((labels.floats("value") > np.array(known)).any())


def _of_metric(
    metrics: Sequence[Evaluated], trained: _Trained, commonest: float | None
) -> Candidate | None:
    """All metrics of which it is known what knowing nothing scores stay there."""
    known = [(each, score_of_nothing(each, commonest)) for each in metrics]
    told = [(each, nothing) for each, nothing in known if nothing is not None]
    if not told or max(_gained(each, nothing) for each, nothing in told) > METRIC_SHARE:
        return None
    metric, nothing = max(told, key=lambda pair: pair[0].values.size)
    best = float((-metric.values).max())
    found = _candidate(
        metric,
        trained,
        f"{metric.name} is {number(best)} or less in all {metric.values.size} evaluations; knowing "
        f"nothing scores {number(nothing)}, and {_fall(trained)}",
    )
    return replace(
        found,
        value=_gained(metric, nothing),
        threshold=METRIC_SHARE,
        unit="of what there is to gain",
    )


def _gained(metric: Evaluated, nothing: float) -> float:
    """The best of it over knowing nothing, as a share of what there is to gain."""
    most = 100.0 if np.any(metric.values < -1) else 1.0
    return float((-metric.values - nothing).max() / (most - nothing))


def _never(loss: Evaluated, trained: _Trained) -> Candidate:
    n, least = int(loss.values.size), float(loss.values.min())
    found = _candidate(
        loss,
        trained,
        f"{loss.name} is {number(least)} or more in all {n} evaluations, and has not "
        f"fallen since the first; the best constant answer scores "
        f"{number(trained.level)}, and {_fall(trained)}",
    )
    return replace(
        found, value=least / trained.level, threshold=1.0, unit="of the loss of knowing nothing"
    )


def _one_number(loss: Evaluated, trained: _Trained) -> Candidate:
    found = _candidate(
        loss,
        trained,
        f"{loss.name} is {float(loss.values[0]):.7g} to the last digit in all "
        f"{loss.values.size} evaluations, while {_fall(trained)}: the model that is evaluated is "
        "not the one that is trained",
    )
    return replace(
        found,
        strength=exact(Size.FAR),
        advice="Evaluate the model whose parameters the optimizer has, or load its weights before "
        "each evaluation.",
        value=float(loss.values.size),
        threshold=float(SAME_EVALUATIONS),
        unit="evaluations",
    )


def _fall(trained: _Trained) -> str:
    return f"the training loss ends at {number(trained.end)}"


def _candidate(metric: Evaluated, trained: _Trained, message: str) -> Candidate:
    return Candidate(
        strength=measured(Size.CLEAR),
        message=message,
        advice=COMPARE,
        first_step=int(metric.steps[0]),
        last_step=int(metric.steps[-1]),
        evidence={
            "metric": metric.name,
            "level": trained.level,
            "train_loss": trained.end,
            "query": SHOWN,
        },
    )


DETECTOR = Detector(
    id=ID,
    title="nothing of what training learns shows in the validation",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS, Need.EVALUATION),
    sql=SQL,
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
