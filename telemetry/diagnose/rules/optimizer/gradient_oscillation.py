"""Successive gradients oppose each other: steps jump over the minimum and back.

Symptom: the usual cosine between the gradients of one step and of the next is -0.5 or less in the
median weight matrix, while the loss has stopped to fall.
Fix: divide the learning rate, or decay it; the steps undo each other.
Not flagged: cosines down to -0.5 (healthy SGD and RMSprop reach -0.35), and oscillation while the
loss falls, because large steps usually train at the edge of stability. With --detector
gradient_oscillation the cosine of any run is shown. Never more than information.
Source: Cohen et al., arXiv:2103.00065.

Near a minimum of curvature h along the step, SGD at the rate lr multiplies the distance by
a = 1 - lr h; the cosine of successive steps is then -(1 - a) / 2 = -lr h / 2 (increments of an
autoregressive series of order one). At -0.5 a step ends in the minimum, beyond it on the other side
of it. Only samples of consecutive steps tell; there are such while every step is sampled.
"""

import math

import numpy as np

from telemetry.diagnose.candidate import Candidate, Description
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.grids import Grid, grids
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, median, row_medians
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.wording import number, of_parameters
from telemetry.store.sessions.rows import Rows

ID = "gradient_oscillation"
OPPOSED_LIMIT = 0.5  # minus the cosine; lr h = 1, a step ends in the minimum
MIN_PAIRS = 10
PAIRS = 50  # the last ones

SQL = """
SELECT
    p.kind AS signal,
    p.step,
    p.param_id AS id,
    p.cos_prev AS value
FROM tensor_points AS p
WHERE p.run = $run
    AND p.kind IN ('gradient', 'update')
    AND p.cos_prev IS NOT NULL
ORDER BY p.step, p.param_id
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The usual cosine between gradients of consecutive steps, late in the run."""
    found = grids(rows)
    matrices = [matrix.id for matrix in context.network.matrices]
    steps, cosines, pairs = _consecutive(found["gradient"], context, matrices)
    if steps.size < MIN_PAIRS:
        return NotChecked(
            detector=ID,
            reason=f"{steps.size} pairs of consecutive steps were sampled; at least {MIN_PAIRS} "
            "are needed: record with every=1",
            absent=True,
        )
    value = median(cosines)
    updates = _consecutive(found["update"], context, matrices)[1]
    finding = _finding(
        context,
        steps,
        pairs,
        value=value,
        update=median(updates),
        limit=-limits["opposed_limit"],
    )
    opposed = value <= -limits["opposed_limit"]
    # What early pairs show does not tell why a loss stands still later.
    late = int(steps[-1]) >= context.n_steps / 2
    return finding if opposed and late and context.stuck else Description(candidate=finding)


def _consecutive(
    grid: Grid, context: RunContext, matrices: list[int]
) -> tuple[IntArray, FloatArray, Grid]:
    """Steps of the last samples that follow a sample of the step before, and their cosines."""
    own = grid.columns(matrices)
    follows = np.isin(own.steps - 1, context.sampled_steps)
    places = np.flatnonzero(follows & ~np.isnan(own.values).all(axis=1))[-PAIRS:]
    kept = Grid(steps=own.steps[places], ids=own.ids, values=own.values[places])
    return kept.steps, row_medians(kept.values), kept


def _finding(
    context: RunContext, steps: IntArray, pairs: Grid, *, value: float, update: float, limit: float
) -> Candidate:
    owner = {matrix.id: matrix.layer for matrix in context.network.matrices}
    usual = row_medians(pairs.values.T)
    order = [place for place in np.argsort(usual) if not np.isnan(usual[place])]
    layers = tuple(dict.fromkeys(owner[pairs.ids[place]] for place in order))
    rate = context.lr_at(int(steps[-1]))
    of_rate = f" ({number(rate)})" if np.isfinite(rate) else ""
    opposed = value <= limit
    return Candidate(
        strength=measured(Size.SLIGHT),
        message=f"the gradients of successive steps have a cosine similarity of {number(value)} "
        f"(limit {number(limit)})"
        + ((": steps jump back and forth across the minimum") if opposed else ""),
        # lr h = -2 cos: to a half.
        advice=f"Divide the learning rate{of_rate} by {math.ceil(-4 * value)}."
        if opposed
        else "Nothing to change; compare the value between runs.",
        layer=layers[0] if layers else None,
        layers=layers[:10],
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=value,
        threshold=limit,
        unit="cosine",
        evidence={
            "n_pairs": int(steps.size),
            "update_cosine": update,
            "state": context.progress.state,
            "query": of_parameters(
                "p.step, t.module as layer, t.name as parameter, p.cos_prev",
                where="kind = 'gradient'",
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="successive gradients oppose each other",
    tier=Tier.INFO,
    severity=Severity.INFO,
    needs=(Need.GRADIENT,),
    sql=SQL,
    parameters={"opposed_limit": OPPOSED_LIMIT},
    advice="Divide the learning rate.",
    source="arXiv:2103.00065",
    judge=judge,
    shown=Shown(
        unit="cosine",
        low_is_worse=True,
        normal="Successive gradients agree more often than they oppose each other.",
    ),
)
