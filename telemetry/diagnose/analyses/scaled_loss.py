"""What is left of the loss where backward() starts, and whether steps can do without the rest."""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.judgement.robust import FloatArray, median
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

MIN_STEPS = 5
CONSTANT = 0.01  # relative range of a factor: it is one, and no other loss
NEGLIGIBLE_STEP = (
    2.0**-16
)  # of the norm of a matrix, a thirtieth of the least that counts as a step


def scaled_away(rows: Rows, context: RunContext, *, limit: float) -> Candidate | None:
    """A constant, tiny multiple of the reported loss, by steps that are nothing because of it.

    A loop may report a sum and minimise a mean: that does no harm while steps are steps.

    Args:
        rows: Columns `multiple` (root over reported loss), `update` (largest of a matrix over its
            norm) and `gradient` (root mean square over matrices), one row a step.
        context: The run.
        limit: Share of the reported loss below which it counts.
    """
    multiples = rows.floats("multiple")
    known = multiples[np.isfinite(multiples)]
    share = median(np.abs(known))
    if known.size < MIN_STEPS or not 0 < share <= limit:
        return None
    if float(np.ptp(known)) > CONSTANT * share:
        return None
    update, gradient = median(rows.floats("update")), _usual_gradient(rows, context)
    epsilon = min((optimizer.epsilon for optimizer in context.optimizers), default=0.0)
    is_still = update <= NEGLIGIBLE_STEP
    if not is_still and (context.recovered or not gradient < epsilon):
        return None
    steps = rows.ints("step")
    so = (
        f"steps move no weight matrix by more than {number(update)} of its norm"
        if is_still
        else f"the optimizer's epsilon of {number(epsilon)} outweighs gradients of "
        f"{number(gradient)}"
    )
    return Candidate(
        strength=exact(Size.TOTAL if is_still else Size.FAR),
        message=f"backward() starts from {number(share)} times the reported loss, and {so}",
        advice=f"Remove what multiplies the loss by {number(share)} before backward(): a mean "
        "over a mean, a division by the size of the data set, a weight.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=share,
        threshold=limit,
        unit="times the reported loss",
        evidence={
            "update_over_weight": update,
            "gradient_rms": gradient,
            "epsilon": epsilon,
            "query": example(
                "steps",
                "step, root_sum / nullif(loss, 0) as root_over_loss, loss, root_sum",
                where="root_sum is not null",
            ),
        },
    )


def _usual_gradient(rows: Rows, context: RunContext) -> float:
    """What epsilon is added to: of Adagrad the root of the sum of all squares so far."""
    gradients: FloatArray = rows.floats("gradient")
    grows = np.sqrt(rows.floats("step") + 1) if context.shrinks_steps else 1.0
    return median(gradients * grows)
