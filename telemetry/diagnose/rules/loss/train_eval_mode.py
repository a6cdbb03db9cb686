"""Layers that behave differently in training and evaluation run in the wrong mode.

Symptom: (1) in the middle of a run the whole model goes over to evaluation mode and stays there,
while it is trained on: dropout is off, BatchNorm keeps the statistics of that moment; (2) an
evaluation runs in training mode: dropout is on, BatchNorm uses each batch's own statistics and
learns those of the validation data.
Fix: model.eval() before, and model.train() after each evaluation.
Not flagged: models without BatchNorm, dropout or the like; forwards without gradient inside
training (generators, roll-outs, teachers), for an evaluation is one only if a metric named val,
valid, eval, test or dev is logged with it. Descriptions only: BatchNorm alone in evaluation mode
(frozen on purpose); a model that was never in training mode, unless the run fails; dropout in an
evaluation with the tag mc-dropout. Functional dropout is not seen.
Source: Humbatova et al., arXiv:1910.11015; arXiv:2005.00972.
"""

import functools
from dataclasses import replace

import numpy as np

from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import Finding, NotChecked, Severity
from telemetry.diagnose.judgement.robust import BoolArray, IntArray
from telemetry.diagnose.step_finding import step_finding
from telemetry.diagnose.tags import Tag
from telemetry.diagnose.wording import gated
from telemetry.store.rows import Rows

ID = "train_eval_mode"
MIN_SAMPLES = 3  # of training in evaluation mode, up to the last: a flag has no noise
MIN_EVALUATIONS = 2  # in training mode, and half of all that were observed

# One row per sampled step and phase: how many layers ran, and how many of them in training mode.
# What is called norm keeps running statistics.
SQL = """
SELECT
    r.step,
    r.phase,
    COUNT(*) AS n,
    SUM(CASE WHEN r.training THEN 1 ELSE 0 END) AS n_training,
    SUM(m.is_norm) AS n_norm,
    SUM(CASE WHEN r.training THEN m.is_norm ELSE 0 END) AS n_norm_training,
    MIN(CASE WHEN m.is_norm = 1 THEN m.path END) AS norm,
    MAX(m.n_dropout) AS n_dropout,
    MAX(CASE WHEN e.step IS NULL THEN 0 ELSE 1 END) AS is_logged
FROM module_numbers AS r
JOIN (
    SELECT
        t.module_id,
        t.path,
        CASE WHEN t.attributes LIKE '%"track_running_stats": true%' THEN 1 ELSE 0 END AS is_norm,
        SUM(
            CASE
                WHEN t.type LIKE '%Drop%' AND t.attributes LIKE '%"p": 0.%'
                    AND t.attributes NOT LIKE '%"p": 0.0,%' THEN 1
                ELSE 0
            END
        ) OVER () AS n_dropout
    FROM modules AS t
    WHERE t.run = $run
) AS m ON m.module_id = r.module_id
LEFT JOIN (
    SELECT DISTINCT v.step FROM metrics AS v
    WHERE v.run = $run AND (LOWER(v.name) LIKE 'val%' OR LOWER(v.name) LIKE 'eval%'
        OR LOWER(v.name) LIKE 'test%' OR LOWER(v.name) LIKE 'dev%')
) AS e ON e.step = r.step
WHERE r.run = $run AND r.site = 'output' AND r.phase IN ('train', 'eval')
GROUP BY r.step, r.phase
ORDER BY r.step, r.phase
"""

_finding = functools.partial(
    step_finding,
    detector=ID,
    counted="n_steps",
    query="select r.step, m.path as layer, r.phase, case when r.training = (r.phase = 'train') "
    "then 0 "
    "else 1 end as wrong_mode from module_rows as r join modules as m on m.run = r.run and "
    "m.module_id = r.module_id where r.site = 'output' and r.phase in ('train', 'eval') and "
    "(m.attributes like '%track_running_stats%' or m.type like '%Drop%') order by r.step",
)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Training that stays in evaluation mode, then evaluations in training mode."""
    steps, phases = rows.ints("step"), np.array(rows.texts("phase"))
    if not steps.size:
        return NotChecked(detector=ID, reason="no layer was observed; record with activations=True")
    has_norm, has_dropout = bool(rows.ints("n_norm").any()), bool(rows.ints("n_dropout").any())
    if not has_norm and not has_dropout:
        return None
    training = phases == "train"
    evaluated = (phases == "eval") & (rows.ints("is_logged") > 0)
    found = _trained_in_eval(
        rows, np.flatnonzero(training), context, limits
    ) or _evaluated_in_train(rows, np.flatnonzero(evaluated), context, limits)
    if found is None and np.unique(steps[training]).size < limits["min_samples"]:
        return NotChecked(
            detector=ID,
            reason=f"{int(training.sum())} sampled training steps; at least "
            f"{limits['min_samples']:.0f} are needed: sample more often (every=)",
        )
    return found


def _trained_in_eval(
    rows: Rows, where: IntArray, context: RunContext, limits: Limits
) -> Finding | None:
    steps = rows.ints("step")[where]
    off = rows.ints("n_training")[where] == 0
    n_last = _run_length(off[::-1])
    if n_last >= limits["min_samples"]:
        first, switched = steps[-n_last], n_last < steps.size
        severity = Severity.WARNING if switched else gated(context.progress)
        since = (
            f"step {first}; model.train() is probably missing after an evaluation"
            if switched
            else "the first step"
        )
        found = _finding(
            steps[-n_last:],
            severity=severity,
            message=f"the model has trained in eval mode since {since}",
            advice="Call model.train() after each evaluation, and before the first step.",
            value=float(n_last),
            threshold=limits["min_samples"],
            unit="samples",
        )
        return _of_layers(rows, found)
    frozen = (rows.ints("n_norm")[where] > 0) & (rows.ints("n_norm_training")[where] == 0)
    if _run_length(frozen[::-1]) < limits["min_samples"]:
        return None
    found = _finding(
        steps[frozen],
        severity=Severity.INFO,
        message="the normalisation layers train in eval mode: their statistics are frozen, "
        "probably on purpose",
        advice="If this is not intended, call model.train() before training continues.",
        value=float(frozen.sum()),
        threshold=limits["min_samples"],
        unit="samples",
    )
    return _of_layers(rows, found)


def _evaluated_in_train(
    rows: Rows, where: IntArray, context: RunContext, limits: Limits
) -> Finding | None:
    norm = rows.ints("n_norm_training")[where] > 0
    whole = rows.ints("n_training")[where] == rows.ints("n")[where]
    dropout = whole & (rows.ints("n_dropout")[where] > 0)
    wrong: BoolArray = norm | dropout
    if wrong.sum() < limits["min_evaluations"] or wrong.mean() < 1 / 2:
        return None
    learns = bool(norm.any())
    meant = not learns and Tag.MC_DROPOUT in context.tags
    severity = Severity.INFO if meant else Severity.ERROR if learns else Severity.WARNING
    what = (
        "BatchNorm uses the statistics of each batch and learns those of the validation data"
        if learns
        else "dropout is on"
    )
    found = _finding(
        rows.ints("step")[where][wrong],
        severity=severity,
        message=f"{wrong.sum()} of {wrong.size} observed evaluations ran in training mode: {what}",
        advice="Call model.eval() before each evaluation and model.train() after it.",
        value=float(wrong.sum()),
        threshold=limits["min_evaluations"],
        unit="evaluations",
    )
    return _of_layers(rows, found)


def _run_length(values: BoolArray) -> int:
    """How many are true before the first that is not."""
    return int(values.size if values.all() else np.argmin(values))


def _of_layers(rows: Rows, finding: Finding) -> Finding:
    """The same, of the normalisation layers."""
    norms = sorted({layer for layer in rows.texts("norm") if layer})
    return replace(finding, layer=norms[0] if norms else None, layers=tuple(norms))


DETECTOR = Detector(
    id=ID,
    title="dropout or BatchNorm runs in the wrong mode",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"min_samples": MIN_SAMPLES, "min_evaluations": MIN_EVALUATIONS},
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
