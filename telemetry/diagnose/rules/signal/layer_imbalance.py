"""Layers learn at very different relative speeds.

Symptom: in five successive samples one weight matrix changes a thousand times less, relative to its
norm, than another, and the run does not learn.
Fix: look at what scales the slow layer: a large initialisation before a normalisation (its gradient
falls with the square of its norm), a factor on its output, a hook on its gradient; give it a
learning rate of its own, or use an optimizer of the Adam family.
Not flagged: parameter groups of different learning rates, unless the ratio of speeds is as large
after each is divided by its rate; matrices without any gradient in a sample (frozen, unused,
experts that got no token); biases, gains, embeddings, adapters; a spread below 1000×, for
healthy transformers have 16×. Where the loss has stopped to fall after a tenth it is still a
warning, further down information; in a run that learns it is reported with --detector
layer_imbalance.
Source: You et al., arXiv:1708.03888.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate, Description
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.grids import Grid, grids
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import Persistence, persistence
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, log2_positive, row_medians
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.wording import MATRICES, example, number, times
from telemetry.store.sessions.rows import Rows

ID = "layer_imbalance"
SPREAD_BITS = 10.0  # healthy medians to 4.4, layers that hardly learn 27
TOLD_BITS = 7.0
MIN_SAMPLES = 5
HARDLY_SHARE = 0.9  # of the level of knowing nothing: where a run stands that has hardly learned

SQL = """
SELECT
    'update_ratio' AS signal,
    l.step,
    l.param_id AS id,
    l.update_ratio AS value
FROM layers AS l
WHERE l.run = $run
    AND l.update_ratio > 0
    AND l.grad_norm_seen > 0
UNION ALL
SELECT
    m.name AS signal,
    m.step,
    0 AS id,
    MAX(m.value) AS value
FROM metrics AS m
WHERE m.run = $run
    AND m.name LIKE 'lr/%'
GROUP BY m.name, m.step
ORDER BY signal, step, id
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The largest distance between the speeds of two matrices, in bits."""
    found = grids(rows)
    seen = found["update_ratio"].seen()
    ids = [matrix.id for matrix in context.network.matrices if matrix.id in seen]
    if len(ids) < 2:  # noqa: PLR2004 - a spread is between two
        return NotChecked(
            detector=ID,
            reason="fewer than two weight matrices have a gradient and an update",
            absent=len(context.network.matrices) < 2,  # noqa: PLR2004 - as above
        )
    ratios = found.pop("update_ratio").columns(ids)
    if int((ratios.steps >= context.warm_in).sum()) < MIN_SAMPLES:
        return NotChecked(
            detector=ID,
            reason=f"fewer than {MIN_SAMPLES} samples after step {context.warm_in}; train longer",
        )
    speeds = log2_positive(ratios.values)
    spread = np.fmin(_spread(speeds), _spread(speeds - _rates(ratios, found, context)))
    for limit in (limits["spread_bits"], limits["told_bits"]):
        held = persistence(
            ratios.steps, spread >= limit, k=MIN_SAMPLES, n=MIN_SAMPLES, start=context.warm_in
        )
        if held is not None:
            finding = _finding(ratios, speeds, spread, held, context, limit)
            wide = limit == limits["spread_bits"] and context.stuck
            return finding if wide else Description(candidate=finding)
    return None


def _spread(speeds: FloatArray) -> FloatArray:
    """Largest minus smallest of each row; 0 where fewer than two are known."""
    known = ~np.isnan(speeds)
    highest = np.where(known, speeds, -np.inf).max(axis=1)
    lowest = np.where(known, speeds, np.inf).min(axis=1)
    return np.where(known.sum(axis=1) > 1, highest - lowest, 0.0)


def _rates(ratios: Grid, found: dict[str, Grid], context: RunContext) -> FloatArray:
    """log2 of each matrix's learning rate in each sample; 0 where it is not known."""
    groups = {matrix.id: matrix.lr_group for matrix in context.network.matrices}
    rates = np.zeros_like(ratios.values)
    for place, one in enumerate(ratios.ids):
        group = groups[one]
        if group == 0:
            steps, values = context.steps.step, context.steps.lr
        else:
            changes = found.get(f"lr/{group}")
            if changes is None:
                continue
            steps, values = changes.steps, changes.values[:, 0]
        rates[:, place] = np.nan_to_num(log2_positive(_at(ratios.steps, steps, values)))
    return rates


def _at(wanted: IntArray, steps: IntArray, values: FloatArray) -> FloatArray:
    """Value of the last change at or before each step."""
    return values[np.maximum(np.searchsorted(steps, wanted, side="right") - 1, 0)]


def _has_hardly_learned(context: RunContext) -> bool:
    """The run fails, or stands still where the last layer alone may have come."""
    level = context.baseline.naive or context.progress.start
    still = context.stuck and context.progress.end >= HARDLY_SHARE * level
    return context.progress.failing or still


def _finding(
    ratios: Grid,
    speeds: FloatArray,
    spread: FloatArray,
    held: Persistence,
    context: RunContext,
    limit: float,
) -> Candidate:
    owner = {matrix.id: matrix.layer for matrix in context.network.matrices}
    usual = row_medians(speeds[held.where].T)
    order = [int(place) for place in np.argsort(usual) if not np.isnan(usual[place])]
    slow, fast = order[0], order[-1]
    middle = float(np.median(usual[order]))
    # The one that stands apart from most; of two, the slow one.
    apart = len(order) > 2 and usual[fast] - middle > middle - usual[slow]  # noqa: PLR2004 - as said
    odd = fast if apart else slow
    names = [owner[ratios.ids[place]] for place in (slow, fast)]
    value = float(np.median(spread[held.where]))
    layers = tuple(dict.fromkeys(owner[ratios.ids[place]] for place in order))
    return Candidate(
        strength=measured(Size.CLEAR if _has_hardly_learned(context) else Size.SLIGHT),
        message=f"a step changes {names[0]} by {number(2 ** usual[slow])} of its norm and "
        f"{names[1]} by {number(2 ** usual[fast])}: they differ by {times(value)} "
        f"(limit {times(limit)})",
        advice=f"Look at what scales {owner[ratios.ids[odd]]}: its initialisation, a factor on "
        "its output, or a hook on its gradient; or give it its own learning rate.",
        layer=owner[ratios.ids[odd]],
        layers=layers[:10],
        first_step=held.first_step,
        last_step=held.last_step,
        value=value,
        threshold=limit,
        unit="bits",
        evidence={
            "slowest": names[0],
            "fastest": names[1],
            "n_samples": len(held.where),
            "state": context.progress.state,
            "query": example("layers", "step, layer, parameter, update_ratio", where=MATRICES),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="layers learn at very different relative speeds",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.UPDATE, Need.LOSS),
    sql=SQL,
    parameters={"spread_bits": SPREAD_BITS, "told_bits": TOLD_BITS},
    advice="Look at what scales the slow layer, or give it its own learning rate.",
    source="arXiv:1708.03888",
    judge=judge,
    shown=Shown(
        low_is_worse=True,
        normal=(
            "Each step changes all layers by about the same share of their norm: within a "
            "factor of about 20."
        ),
    ),
)
