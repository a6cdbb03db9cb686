"""Clipping acts on every step.

Symptom: the norm of the gradient is cut in 98 % of the last 200 steps, to an eighth of its size or
less: what is left is SGD with normalised gradients, whose rate falls as gradients grow.
Fix: raise max_norm, or know that the learning rate is multiplied by max_norm over the norm.
Optimizers of the Adam family hardly notice.
Not flagged: gradients that are cut to more than an eighth, or now and then. Information: runs that
learn, for some recipes clip on purpose at every step; optimizers whose steps do not depend on the
size of the gradient; runs that fail although their steps are of usual size, or whose steps would be
too small without clipping.
Source: Pascanu et al., arXiv:1211.5063; Chen et al., arXiv:2007.14469.
"""

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import SMALL_STEP
from telemetry.diagnose.judgement.robust import median
from telemetry.diagnose.judgement.severity import Size, statistical
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "clip_saturation"
STEPS = 200  # the last ones
MIN_STEPS = 20
CLIPPED_SHARE = 0.98
FACTOR = 8.0  # times that the norm exceeds the limit

SQL = """
SELECT
    s.step,
    MIN(s.clip_coefficient) AS coefficient,
    MAX(l.update_ratio) AS update_ratio
FROM steps AS s
LEFT JOIN layers AS l
    ON l.run = s.run
    AND l.step = s.step
WHERE s.run = $run
GROUP BY s.step
HAVING COUNT(s.clip_coefficient) > 0
ORDER BY s.step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Share of the last steps in which clipping acted, and how strongly."""
    if len(rows) < MIN_STEPS:
        return NotChecked(
            detector=ID,
            reason=f"gradient clipping was seen in {len(rows)} steps; at least {MIN_STEPS} are "
            "needed. Only torch's clip_grad_norm_ and clip_grad_value_ outside compiled "
            "code are seen",
            absent=not len(rows),
        )
    coefficients = rows.floats("coefficient")[-STEPS:]
    clipped = coefficients < 1
    share = float(clipped.mean())
    # 1 / 0 is a norm that overflowed: non_finite tells of it.
    factor = median(1 / coefficients[clipped & (coefficients > 0)])
    if not (share >= limits["clipped_share"] and factor >= limits["factor"]):
        return None
    steps = rows.ints("step")[-STEPS:][clipped]
    adaptive = context.is_adaptive
    largest = median(rows.floats("update_ratio"))
    starves = not adaptive and largest <= SMALL_STEP < largest * factor
    return Candidate(
        strength=statistical(Size.CLEAR if starves else Size.SLIGHT),
        message=f"clipping cuts the gradient norm in {share:.0%} of {coefficients.size} steps, "
        f"usually by {number(factor)}× (limit {number(limits['factor'])}×)",
        advice=(
            "This hardly affects the optimizer: its step does not depend on the size of the "
            "gradient."
        )
        if adaptive
        else f"In effect, the learning rate is divided by {number(factor)}, and by more where "
        "gradients are larger; raise max_norm to clip only the exceptional gradients.",
        first_step=int(steps[0]),
        earliest=int(rows.ints("step")[rows.floats("coefficient") < 1][0]),
        last_step=int(steps[-1]),
        value=factor,
        threshold=limits["factor"],
        unit="norm / max_norm",
        evidence={
            "clipped_share": share,
            "n_steps": int(coefficients.size),
            "query": example("steps", "step, grad_norm_total, clip_coefficient"),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="nearly every step is clipped",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"clipped_share": CLIPPED_SHARE, "factor": FACTOR},
    advice=(
        "Raise max_norm, or accept that the learning rate is in effect divided by norm / max_norm."
    ),
    source="arXiv:1211.5063, arXiv:2007.14469",
    judge=judge,
    causes=("learning_rate_too_low", "loss_not_decreasing", "loss_plateau"),
    shown=Shown(
        normal="Clipping acts on exceptional steps only; the usual norm is below max_norm.",
    ),
)
