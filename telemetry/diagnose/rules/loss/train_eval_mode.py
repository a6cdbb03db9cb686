"""Layers that behave differently in training and evaluation run in the wrong mode.

Symptom: (1) in the middle of a run the whole model goes over to evaluation mode and stays there,
while it is trained on: dropout is off, BatchNorm keeps the statistics of that moment; (2) an
evaluation runs in training mode: dropout is on, BatchNorm uses each batch's own statistics and
learns those of the validation data; (3) a functional dropout is on in an evaluation.
Fix: model.eval() before, and model.train() after each evaluation; F.dropout(x, p, self.training).
Not flagged: models without BatchNorm, dropout or the like; forwards without gradient inside
training (generators, roll-outs, teachers), for an evaluation is one only if a metric with val,
valid, eval, test or dev in its name is logged after it, or if it runs inside evaluation().
Descriptions only: BatchNorm alone in evaluation mode (frozen on purpose); dropout in an evaluation
with the tag mc-dropout. Functional dropout is seen in evaluations 1, 2, 4, 8 and so on, with
activations=True.
Source: Humbatova et al., arXiv:1910.11015; arXiv:2005.00972.
"""

import functools
from dataclasses import replace

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import run_length
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.step_finding import step_finding
from telemetry.diagnose.tags import Tag
from telemetry.store.sessions.rows import Rows

ID = "train_eval_mode"
MIN_SAMPLES = 3  # of training in evaluation mode, up to the last: a flag has no noise
WRONG_SHARE = 0.5  # of the evaluations: one that differs from all others may be of another kind

# Modes of a step and of the evaluation after it; then, by `what`: layers that have a mode, which
# evaluations were looked at and whether a dropout was on in them, and where one was logged.
SQL = """
SELECT
    'step' AS what, s.step, '' AS layer,
    MAX(s.training_share) AS training, MAX(s.norm_training) AS n_norm,
    MAX(s.dropout_training) AS n_dropout,
    MAX(s.eval_training_share) AS eval_training, MAX(s.eval_norm_training) AS eval_norm,
    MAX(s.eval_dropout_training) AS eval_dropout,
    MAX(CASE WHEN MOD(s.flags, 64) >= 32 THEN 1 ELSE 0 END) AS is_evaluation
FROM steps AS s
WHERE s.run = $run AND (s.training_share IS NOT NULL OR s.eval_training_share IS NOT NULL)
GROUP BY s.step
UNION ALL
SELECT
    CASE WHEN t.attributes LIKE '%"track_running_stats": true%' THEN 'norm' ELSE 'dropout' END,
    0, t.path, NULL, NULL, NULL, NULL, NULL, NULL, 0
FROM modules AS t
WHERE t.run = $run AND (t.attributes LIKE '%"track_running_stats": true%' OR (t.type LIKE '%Drop%'
    AND t.attributes LIKE '%"p": 0.%' AND t.attributes NOT LIKE '%"p": 0.0,%'))
UNION ALL
SELECT
    'looked', r.step, MIN(CASE WHEN r.site LIKE 'dropout#%' THEN m.path END),
    NULL, NULL, NULL, NULL, NULL, MAX(CASE WHEN r.site LIKE 'dropout#%' THEN 1 ELSE 0 END), 0
FROM module_numbers AS r
JOIN modules AS m ON m.run = r.run AND m.module_id = r.module_id
WHERE r.run = $run AND r.phase = 'eval'
GROUP BY r.step
UNION ALL
SELECT 'logged', v.step, '', NULL, NULL, NULL, NULL, NULL, NULL, 0
FROM metrics AS v
WHERE v.run = $run AND LOWER(v.name) NOT LIKE 'value%' AND (LOWER(v.name) LIKE 'val%'
    OR LOWER(v.name) LIKE 'eval%' OR LOWER(v.name) LIKE 'test%' OR LOWER(v.name) LIKE 'dev%')
GROUP BY v.step
ORDER BY what, step, layer
"""
IN_TRAINING = (
    "select step, training_share, norm_training, dropout_training from steps "
    "where training_share is not null order by step"
)
IN_EVALUATION = (
    "select step, eval_training_share, eval_norm_training, eval_dropout_training from steps "
    "where eval_training_share is not null order by step"
)
OF_DROPOUT = (
    "select step, layer, site, zero_share from activations "
    "where site like 'dropout#%' and phase = 'eval' order by step"
)
BACK = "Call model.eval() before each evaluation and model.train() after it."

_finding = functools.partial(step_finding, counted="n_steps")


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Training that stays in evaluation mode, evaluations in training mode, functional dropout."""
    steps, looked = rows.part("what", "step"), rows.part("what", "looked")
    norms = tuple(sorted(rows.part("what", "norm").texts("layer")))
    has_modes = bool(norms or len(rows.part("what", "dropout")))
    if not context.n_steps:
        return NotChecked(detector=ID, reason="no step was recorded")
    if not has_modes and not (looked.floats("eval_dropout") > 0).any():
        return None
    if not len(steps):
        return NotChecked(
            detector=ID,
            reason="no modes of layers were recorded: this run was recorded before they were, or "
            "no forward of the model was seen",
        )
    found = (
        _trained_in_eval(steps, norms, context, limits)
        or _evaluated_in_train(steps, norms, context)
        or _functional(steps, looked, context)
    )
    if found is not None:
        return found
    reason = _lacks(steps, rows.part("what", "logged").ints("step"), context, limits)
    return None if reason is None else NotChecked(detector=ID, reason=reason)


def _trained_in_eval(
    steps: Rows, norms: tuple[str, ...], context: RunContext, limits: Limits
) -> Candidate | None:
    shares = steps.floats("training")
    where = np.flatnonzero(np.isfinite(shares))
    modal = steps.floats("n_norm")[where] + np.nan_to_num(steps.floats("n_dropout")[where])
    step, off = steps.ints("step")[where], _is_off(shares[where], modal, context)
    n_last = run_length(off)
    if norms and n_last < limits["min_samples"]:
        frozen = ~off & (steps.floats("n_norm")[where] == 0)
        return _frozen(step, frozen, norms, limits)
    if n_last < limits["min_samples"]:
        return None
    switched = n_last < step.size
    since = (
        f"step {step[-n_last]}; `model.train()` is probably missing after evaluation"
        if switched
        else "the first step"
    )
    found = _finding(
        step[-n_last:],
        strength=exact(),
        message=f"the model has trained in eval mode since {since}",
        advice="Call model.train() after each evaluation, and before the first step.",
        value=float(n_last),
        threshold=limits["min_samples"],
        unit="samples",
        query=IN_TRAINING,
    )
    return _of_layers(norms, found)


def _is_off(shares: FloatArray, modal: FloatArray, context: RunContext) -> BoolArray:
    """Steps whose model is in evaluation mode, or all of it that a wrapper in training mode holds.

    Who freezes the layers that have a mode puts these alone over, or never trains them. Where more
    modules than these went over after they had been in training mode, an evaluation did it.

    Args:
        shares: Of the modules, those in training mode (n,).
        modal: Normalisation and dropout layers in training mode (n,).
        context: The run.
    """
    n_over = (np.maximum.accumulate(shares) - shares) * len(context.network.modules)
    before = np.maximum.accumulate(modal)
    off: BoolArray = shares == 0
    off |= (before > 0) & (modal == 0) & (n_over > before + 0.5)
    return off


def _frozen(
    step: IntArray, frozen: BoolArray, norms: tuple[str, ...], limits: Limits
) -> Candidate | None:
    if run_length(frozen) < limits["min_samples"]:
        return None
    found = _finding(
        step[frozen],
        strength=exact(meant=True),
        message="the normalisation layers train in eval mode: their statistics are frozen, "
        "probably on purpose",
        advice="If this is not intended, call model.train() before training continues.",
        value=float(frozen.sum()),
        threshold=limits["min_samples"],
        unit="samples",
        query=IN_TRAINING,
    )
    return _of_layers(norms, found)


def _evaluated_in_train(
    steps: Rows, norms: tuple[str, ...], context: RunContext
) -> Candidate | None:
    where = np.flatnonzero(_evaluations(steps))
    wrong = _in_train(steps)[where]
    if not wrong.any() or wrong.mean() < WRONG_SHARE:
        return None
    learns = bool((steps.floats("eval_norm")[where] > 0).any())
    meant = not learns and Tag.MC_DROPOUT in context.tags
    what = (
        "BatchNorm uses the statistics of each batch and learns those of the validation data"
        if learns
        else "dropout is on"
    )
    found = _finding(
        steps.ints("step")[where][wrong],
        strength=exact(Size.TOTAL if learns else Size.CLEAR, meant=meant),
        message=f"{wrong.sum()} of {wrong.size} evaluations ran in training mode: {what}",
        advice=BACK,
        value=float(wrong.mean()),
        threshold=WRONG_SHARE,
        unit="share",
        query=IN_EVALUATION,
    )
    return _of_layers(norms, found)


def _functional(steps: Rows, looked: Rows, context: RunContext) -> Candidate | None:
    """A dropout that was on in an evaluation in which no layer that drops was in training mode."""
    named = steps.ints("step")[_evaluations(steps) & (steps.floats("eval_dropout") == 0)]
    where = np.flatnonzero(np.isin(looked.ints("step"), named))
    on = looked.floats("eval_dropout")[where] > 0
    if not on.any() or on.mean() < WRONG_SHARE:
        return None
    layer = str(np.array(looked.texts("layer"))[where][on][0])
    seen = looked.ints("step")[where][on]
    is_all = bool(np.isin(seen, steps.ints("step")[steps.floats("eval_training") == 1]).all())
    found = _finding(
        seen,
        strength=exact(meant=Tag.MC_DROPOUT in context.tags),
        message=f"dropout is on in {on.sum()} of {on.size} looked-at evaluations, in the forward "
        f"of {layer or 'the model'}"
        + (": they ran in training mode" if is_all else ", though no dropout layer is"),
        advice=BACK
        if is_all
        else "F.dropout drops by default: call F.dropout(x, p, training=self.training), "
        "or use nn.Dropout.",
        value=float(on.mean()),
        threshold=WRONG_SHARE,
        unit="share",
        query=OF_DROPOUT,
    )
    return replace(found, layer=layer)


def _lacks(steps: Rows, logged: IntArray, context: RunContext, limits: Limits) -> str | None:
    """What was not seen, and would have to be for the rule to pass."""
    step, shares = steps.ints("step"), steps.floats("training")
    named, known = _evaluations(steps), np.isfinite(shares)
    off = shares[known] == 0
    n_off = run_length(off)
    if known.sum() < limits["min_samples"]:
        return (
            f"the modes of {known.sum()} training steps are known, {limits['min_samples']:.0f} are "
            "needed; sample more often (every=)"
        )
    if n_off:
        return (
            f"training ran in eval mode in the last {n_off} of the steps whose modes are "
            f"known, from step {step[known][-n_off]} on; {limits['min_samples']:.0f} are needed"
        )
    last = int(step[named].max(initial=-1))
    if last >= 0 and context.last_step > last >= step[known].max():
        return f"the modes of no training step after the evaluation at step {last} are known"
    if logged.size and logged.max() > last:
        since = f" after step {last}" if last >= 0 else ""
        return (
            f"no evaluation was recorded{since}, but results of some were logged until step "
            f"{logged.max()}: no forward of this model was seen before them (a copy of it, another "
            "process?)"
        )
    if last < 0 and _in_train(steps).any():
        return (
            "forwards without gradient ran in training mode, and nothing says whether they were "
            "evaluations; log their result as val_..., or run them inside evaluation()"
        )
    return None


def _evaluations(steps: Rows) -> BoolArray:
    known: BoolArray = np.isfinite(steps.floats("eval_training"))
    return known & (steps.ints("is_evaluation") > 0)


def _in_train(steps: Rows) -> BoolArray:
    """What is evaluated while layers of it are in training mode: not dropout alone, on purpose."""
    whole = steps.floats("eval_training") == 1
    dropout: BoolArray = whole & (steps.floats("eval_dropout") > 0)
    return dropout | (steps.floats("eval_norm") > 0)


def _of_layers(norms: tuple[str, ...], finding: Candidate) -> Candidate:
    """The same, of the normalisation layers."""
    return replace(finding, layer=norms[0] if norms else None, layers=norms)


DETECTOR = Detector(
    id=ID,
    title="dropout or BatchNorm runs in the wrong mode",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"min_samples": MIN_SAMPLES},
    advice="Call model.eval() before and model.train() after each evaluation.",
    source="arXiv:1910.11015, arXiv:2005.00972",
    judge=judge,
    causes=("loss_not_decreasing", "overfitting"),
    softened_by=(Tag.MC_DROPOUT,),
    shown=Shown(
        normal="Dropout and BatchNorm are in training mode in every training forward pass, and "
        "in eval mode in every evaluation.",
    ),
)
