"""One step changes a weight by an unusual share of itself.

Symptom: the loss does not fall and the update of the median weight matrix is a tenth of its norm
or more in most samples, or one matrix is replaced as a whole step after step.
Fix: bring update / weight to 2^-10 ... 2^-7 per step by the learning rate of that group.
Not flagged: biases and gains, embeddings, adapters; zero-initialised matrices (the ratio has a
floor); scale-invariant weights before a normalisation layer, which take large updates and learn: a
run that learns gives information at most.
Source: the 1e-3 rule of thumb; You et al., arXiv:1708.03888; Kosson et al., arXiv:2305.17212.

Updates are measured as weight after minus before, so momentum, decay, clipping and adaptivity are
included. Mostly it corroborates a cause: it says which layer, not why.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.grids import Grid, grids
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import Persistence, persistence
from telemetry.diagnose.judgement.robust import row_medians
from telemetry.diagnose.judgement.severity import statistical
from telemetry.diagnose.wording import MATRICES, and_more, example, number
from telemetry.store.sessions.rows import Rows

ID = "update_ratio"
MEDIAN_LIMIT = 0.1  # median matrix; healthy 7e-4 to 5e-2 over all optimizers, p95 to 0.24
SINGLE_LIMIT = 1.0  # one matrix: a step as large as the weight
MIN_SAMPLES = 5

SQL = """
SELECT
    'update_ratio' AS signal,
    l.step,
    l.param_id AS id,
    l.update_ratio AS value
FROM layers AS l
WHERE l.run = $run
    AND l.update_ratio IS NOT NULL
ORDER BY l.step, l.param_id
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The median over matrices first, then single ones."""
    found = grids(rows)["update_ratio"]
    seen = found.seen()
    ids = [matrix.id for matrix in context.network.matrices if matrix.id in seen]
    if not ids:
        return NotChecked(detector=ID, reason="no weight matrix with a recorded update")
    ratios = found.columns(ids)
    if int((ratios.steps >= context.warm_in).sum()) < MIN_SAMPLES:
        return NotChecked(
            detector=ID,
            reason=f"fewer than {MIN_SAMPLES} samples after step {context.warm_in}; train longer",
        )
    usual = row_medians(ratios.values)
    held = persistence(
        ratios.steps, usual >= limits["median_limit"], k=5, n=10, start=context.warm_in
    )
    if held is not None:
        value = float(np.median(usual[held.where]))
        return _finding(ratios, held, value, context, limits["median_limit"])
    return _single(ratios, context, limits)


def _single(ratios: Grid, context: RunContext, limits: Limits) -> Candidate | None:
    for place in np.argsort(-np.nan_to_num(row_medians(ratios.values.T))):
        column = ratios.values[:, place]
        held = persistence(ratios.steps, column >= limits["single_limit"], start=context.warm_in)
        if held is not None:
            one = ratios.columns([ratios.ids[place]])
            value = float(np.median(column[held.where]))
            return _finding(one, held, value, context, limits["single_limit"])
    return None


def _finding(
    ratios: Grid, held: Persistence, value: float, context: RunContext, limit: float
) -> Candidate:
    owner = {matrix.id: matrix.layer for matrix in context.network.matrices}
    worst = np.argsort(-np.nan_to_num(row_medians(ratios.values[held.where].T)))
    layers = tuple(dict.fromkeys(owner[ratios.ids[place]] for place in worst))
    subject = and_more(layers[:1]) if len(ratios.ids) == 1 else "the median weight matrix"
    rate = context.lr_at(held.first_step)
    return Candidate(
        strength=statistical(),
        message=f"a step changes {subject} by {number(value)} of its norm (limit {number(limit)})",
        advice=f"Divide the learning rate ({number(rate)}) by {number(max(2.0, value / 0.01))}: a "
        "step of 2^-10 to 2^-7 of the weight's norm is usual.",
        layer=layers[0],
        layers=layers[:10],
        first_step=held.first_step,
        last_step=held.last_step,
        value=value,
        threshold=limit,
        unit="update/weight",
        evidence={
            "n_samples": len(held.where),
            "state": context.progress.state,
            "query": example("layers", "step, layer, parameter, update_ratio", where=MATRICES),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="a step changes a weight by an unusually large share of its norm",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.UPDATE, Need.LOSS),
    sql=SQL,
    parameters={"median_limit": MEDIAN_LIMIT, "single_limit": SINGLE_LIMIT},
    advice="Aim for an update of 2^-10 to 2^-7 of the weight's norm per step.",
    source="arXiv:1708.03888, arXiv:2305.17212",
    judge=judge,
    shown=Shown(
        unit="update/weight",
        normal="A step changes a weight matrix by about a thousandth of its norm, and by a few "
        "hundredths at most.",
    ),
)
