"""Outputs for different inputs coincide: the loss has found the answer that needs no input.

Symptom: the rows of the model's last layer, which differed at first, point in the same direction:
mean pairwise cosine at least 0.99, and deviation (sqrt(d) times the mean deviation of a component
of the normalised rows) at most 0.1 and a quarter of what it was. Or nothing in the loss keeps
examples apart: it compares outputs with outputs alone, and is zero for any answer that is the same
for all examples.
Fix: negatives, a stop-gradient with a predictor, or a variance term, whichever the method asks for.
Not flagged: fewer than 8 components (scores, bottlenecks, regressions) or 32 rows; outputs that
coincided from the start (poor_initialization); outputs that grew 16 x, whose common part is the
target's mean; a common direction with differences (transformers); collapse to a few dimensions;
losses with labels, which reward no collapse: there it is the symptom of something else, and
information; losses that use an output without its gradient, as methods with a stop-gradient do. A
falling loss clears nothing, for a collapse makes it fall.
Source: Jing et al., arXiv:2110.09348; Garrido et al., arXiv:2210.02885.

The centred effective rank does not tell: it has no scale (20.8 of 32 in a collapsed encoder, 22.8
in a healthy one).
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.network import Module
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import Persistence, persistence
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, median
from telemetry.diagnose.judgement.severity import Size, exact, measured
from telemetry.diagnose.tags import UNJUDGED
from telemetry.diagnose.wording import and_more, example, number
from telemetry.store.sessions.rows import Rows

ID = "representation_collapse"
# Measured: contrastive encoder 0.99, without negatives 0.015; last layers of healthy networks
# 0.40 and more. 2.3 bits to either side.
SPREAD_LIMIT = 0.1
SPREAD_ERROR = 0.02
COSINE_LIMIT = 0.99
FALL_LIMIT = 0.25  # of the first spread: what coincides from the start has not collapsed
# Of the RMS. Under a cosine the common direction grew 7 x; targets of deviation 1 need a mean of 10
# and more to look collapsed, which is 20 to 2,000 x what a fresh layer puts out.
GROWTH_LIMIT = 16.0
MIN_UNITS = 8
MIN_SAMPLES = 3
NOTHING = 1e-3  # of the first loss: rounding and epsilons

SQL = """
SELECT
    'layer' AS what,
    r.module_id,
    r.step,
    MAX(r.unit_spread) AS spread,
    MIN(r.pair_cosine) AS cosine,
    SQRT(SUM(r.sumsq) / SUM(r.n)) AS rms
FROM module_numbers AS r
WHERE r.run = $run
    AND r.site = 'output'
    AND r.phase = 'train'
    AND r.unit_spread IS NOT NULL
    AND r.n_units >= $min_units
GROUP BY r.module_id, r.step
UNION ALL
SELECT 'loss', g.call, g.step, MAX(g.root), MAX(g.any_constant_loss),
    MAX(CAST(g.has_detached AS INTEGER))
FROM loss_graphs AS g
WHERE g.run = $run AND g.any_constant_loss IS NOT NULL
GROUP BY g.call, g.step
ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Output of one layer over its samples, each array of shape (n_samples,)."""

    module: Module
    steps: IntArray
    spread: FloatArray
    cosine: FloatArray
    rms: FloatArray

    def collapse(self, limits: Limits, start: int) -> Persistence | None:
        """Where its rows coincide that differed at first; None when they do not stay so."""
        held = (
            (self.spread <= limits["spread_limit"])
            & (self.cosine >= limits["cosine_limit"])
            & (self.spread <= FALL_LIMIT * self.spread[0])
            & (self.rms <= GROWTH_LIMIT * self.rms[0])
        )
        return persistence(self.steps, held, start=start)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The last layer, and how many before it collapsed with it; then the loss itself."""
    verdict = _of_layers(rows.part("what", "layer"), context, limits)
    if isinstance(verdict, Candidate):
        return verdict
    return _unopposed(rows.part("what", "loss"), context) or verdict


def _of_layers(rows: Rows, context: RunContext, limits: Limits) -> Candidate | NotChecked | None:
    seen = set(rows.ints("module_id").tolist())
    layers = [_layer(module, rows) for module in context.network.chain if module.id in seen]
    last = context.network.chain[-1:]
    if not layers or (layers[-1].module,) != last:
        return NotChecked(
            detector=ID,
            reason="the last layer never returned vectors of at least 8 components for 32 inputs",
            absent=True,
        )
    n_samples = layers[-1].steps.size
    if n_samples < MIN_SAMPLES:
        return NotChecked(
            detector=ID,
            reason=f"{n_samples} samples of the last layer; at least {MIN_SAMPLES} are needed",
        )
    held = layers[-1].collapse(limits, context.warm_in)
    if held is None:
        return None
    collapsed = [layers[-1]]
    for layer in reversed(layers[:-1]):
        if layer.collapse(limits, context.warm_in) is None:
            break
        collapsed.insert(0, layer)
    return _finding(collapsed, held, context, limits)


def _unopposed(rows: Rows, context: RunContext) -> Candidate | None:
    """A loss that any constant answer makes zero."""
    steps, roots, constants = rows.ints("step"), rows.floats("spread"), rows.floats("cosine")
    if len(set(steps.tolist())) < MIN_SAMPLES or rows.ints("module_id").any():
        return None
    first = float(np.nanmax(np.abs(roots[:MIN_SAMPLES])))
    # A loss that falls below that of a constant rewards outputs that differ.
    lowest = float(np.fmin(np.nanmin(roots), np.nanmin(context.losses, initial=np.inf)))
    is_opposed = (rows.floats("rms") > 0).any() or lowest < -NOTHING * first
    if is_opposed or not (np.abs(constants) <= NOTHING * first).all():
        return None
    return Candidate(
        strength=exact(meant=bool(context.tags & UNJUDGED)),
        message=f"nothing in the loss keeps examples apart: it began at {number(first)}, and is "
        f"{number(float(np.abs(constants).max()))} for any answer that is the same for all of them",
        advice="Add what the method asks for: negatives, a stop-gradient with a predictor, or a "
        "variance term.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=float(np.abs(constants).max()),
        threshold=NOTHING * first,
        unit="loss",
        earliest=0,
        evidence={
            "first_loss": first,
            "query": example("loss_graphs", "step, root, any_constant_loss, has_detached"),
        },
    )


def _layer(module: Module, rows: Rows) -> _Layer:
    own = rows.ints("module_id") == module.id
    return _Layer(
        module=module,
        steps=rows.ints("step")[own],
        spread=rows.floats("spread")[own],
        cosine=rows.floats("cosine")[own],
        rms=rows.floats("rms")[own],
    )


def _size(context: RunContext, *, severe: bool) -> Size:
    unjudged = context.progress.state is State.UNKNOWN and not context.progress.measurable
    is_meant = bool(context.tags & UNJUDGED)  # adversaries may agree for good
    if context.baseline.kind or is_meant or (unjudged and not severe):
        return Size.SLIGHT
    return Size.TOTAL if severe and not unjudged else Size.CLEAR


def _finding(
    layers: list[_Layer], held: Persistence, context: RunContext, limits: Limits
) -> Candidate:
    last = layers[-1]
    spread = median(last.spread[held.where])
    names = [layer.module.path for layer in layers]
    return Candidate(
        strength=measured(_size(context, severe=spread <= limits["spread_error"])),
        message=f"outputs of {and_more(names)} are nearly equal for different inputs: spread "
        f"{number(spread)}, {number(float(last.spread[0]))} at first (limit "
        f"{number(limits['spread_limit'])}), mean cosine similarity "
        f"{median(last.cosine[held.where]):.3f}",
        advice="Give the loss a reason to separate inputs: negatives, a stop-gradient with a "
        "predictor, or a variance term. A falling loss does not show that anything was "
        "learned.",
        layer=names[0],
        layers=tuple(names),
        first_step=held.first_step,
        last_step=held.last_step,
        value=spread,
        threshold=limits["spread_limit"],
        unit="deviation",
        evidence={
            "loss": context.baseline.kind or "without labels",
            "state": context.progress.state,
            "query": "select r.step, m.path as layer, r.unit_spread, r.pair_cosine from "
            "module_rows r join modules m on m.run = r.run and m.module_id = r.module_id "
            "where r.unit_spread is not null order by r.step",
        },
    )


DETECTOR = Detector(
    id=ID,
    title="outputs for different inputs are nearly equal",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "spread_limit": SPREAD_LIMIT,
        "spread_error": SPREAD_ERROR,
        "cosine_limit": COSINE_LIMIT,
        "min_units": MIN_UNITS,
    },
    advice="Use negatives, a stop-gradient with a predictor, or a variance term.",
    source="arXiv:2110.09348, arXiv:2210.02885",
    judge=judge,
    shares=("cosine_limit",),
    shown=Shown(
        unit="deviation",
        low_is_worse=True,
        normal="Outputs for different inputs point in different directions: a spread near 1.",
    ),
)
