"""Whether two adversaries are trained against each other at all.

What the discriminator gains, the generator loses. With crossentropies a made sample that is taken
for real with probability p costs the discriminator -ln(1 - p) and the generator -ln p: whatever p
is, the two add up to 2 ln 2 or more, and to 0.95 or more where the discriminator's is halved. A sum
that stays below says that both win, so they want the same. Without such a bound it shows in what is
made: it leaves every scale of the data, for the critic is never fooled by it.

Source: Goodfellow et al., arXiv:1406.2661, for the two losses; Arjovsky et al., arXiv:1701.07875.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.context import ADVERSARIAL_NAME, GENERATOR_NAME, RunContext
from telemetry.diagnose.judgement.robust import FloatArray, IntArray, median
from telemetry.diagnose.tags import Tag
from telemetry.diagnose.wording import number
from telemetry.format.loss_operations import BINARY
from telemetry.store.sessions.rows import Rows

MIN_STEPS = 60
# Of a + b / 2 where exp(-a) + exp(-b) = 1: at a = ln 3/2, b = ln 3.
LEAST_SUM = math.log(1.5) + math.log(3.0) / 2
SLACK = 0.75  # the discriminator's step lies between its loss and the generator's
MIN_SAMPLES = 12
GROWN = 256.0  # of what is made, since the start: healthy generators grow by 2 to 12 (measured)
STILL_GROWS = 2.0  # in the last half of the samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two adversaries that want the same.

    Attributes:
        layer: Of the generator, where its outputs say so.
        message: What is seen.
        first_step: Since when.
    """

    layer: str | None = None
    message: str
    first_step: int
    value: float
    threshold: float
    unit: str


def agreement(steps: Rows, made: Rows, context: RunContext) -> Agreement | None:
    """What says that a generator is trained for what its discriminator is trained for.

    Args:
        steps: With step, root_sum and optimizer_steps.
        made: With step, layer and rms of outputs of the generator's layers.
        context: The run.
    """
    if not is_adversarial(context):
        return None
    return _both_win(steps, context) or _leaves_the_data(made)


def is_adversarial(context: RunContext) -> bool:
    """A tag says so, or modules are named as adversaries."""
    paths = [module.path for module in context.network.modules]
    named = all(
        any(known.search(path) for path in paths) for known in (ADVERSARIAL_NAME, GENERATOR_NAME)
    )
    return named or Tag.GAN in context.tags


def _both_win(steps: Rows, context: RunContext) -> Agreement | None:
    """Both losses of one step together are below what any discriminator allows."""
    sums, trained = steps.floats("root_sum"), steps.floats("optimizer_steps")
    known = np.isfinite(sums) & (trained >= 2)  # noqa: PLR2004 - each adversary has its own
    if context.baseline.kind not in BINARY or int(known.sum()) < MIN_STEPS:
        return None
    last: FloatArray = sums[known][-(int(known.sum()) // 3) :]
    at: IntArray = steps.ints("step")[known]
    least = SLACK * LEAST_SUM
    if not 0 <= median(last) < least or float((last < least).mean()) < SLACK:
        return None
    return Agreement(
        message=f"the losses of both adversaries together are {number(median(last))} in the last "
        f"third of the steps, and cannot be below {number(LEAST_SUM)} where one of them wants "
        "what the other does not: the generator is trained to differ from the data",
        first_step=int(at[-last.size]),
        value=median(last),
        threshold=least,
        unit="nats",
    )


def _leaves_the_data(made: Rows) -> Agreement | None:
    """The outputs of the generator's last layer have grown from the first to the last sample."""
    layers = np.array(made.texts("layer"))
    if not layers.size:
        return None
    sizes, steps = made.floats("rms"), made.ints("step")
    last = str(layers[-1])
    own, at = sizes[layers == last], steps[layers == last]
    if own.size < MIN_SAMPLES or not own[0] > 0:
        return None
    end = median(own[-3:])
    if end < GROWN * own[0] or end < STILL_GROWS * median(own[own.size // 2 :][:3]):
        return None
    return Agreement(
        layer=last,
        message=f"what {last} makes has grown from {number(float(own[0]))} to {number(end)} and "
        "still grows: nothing holds the generator to the data, as where its loss has the sign of "
        "the critic's",
        first_step=int(at[np.flatnonzero(own >= math.sqrt(GROWN) * own[0])[0]]),
        value=end / float(own[0]),
        threshold=GROWN,
        unit="times",
    )
