"""Whether terms of a loss that read no target outweigh those that do."""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.judgement.harm import NOTHING_SHARE
from telemetry.diagnose.judgement.robust import median
from telemetry.diagnose.judgement.severity import measured
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

MIN_ROWS = 6
MIN_STEPS = 100  # as for a loss that does not fall
WIDTH = 5  # rows at the end
LEAST_MOST = 0.1  # of all that the data have to give; 0.05 in healthy runs, 1.5 in outweighed ones
FALLEN = 0.1  # of its most: in a run that learns a divergence grows, for it is what was learned


def outweighed(rows: Rows, context: RunContext) -> Candidate | None:
    """The data have taught nothing, while what weighs as much as they do was brought down.

    Args:
        rows: Columns `step`, `targets` and `free` (parts of the loss), and `constant` (what the
            first would be of the best constant answer), ascending by step.
        context: The run.
    """
    steps, free = rows.ints("step"), rows.floats("free")
    if steps.size < MIN_ROWS or context.n_steps < MIN_STEPS or steps[-1] < context.last_step / 2:
        return None
    constants, parts = rows.floats("constant"), rows.floats("targets")
    level, data = median(constants[-WIDTH:]), median(parts[-WIDTH:])
    # Batches differ by more than that: each is held against its own constant.
    reached = median(parts[-WIDTH:] / np.where(constants > 0, constants, np.nan)[-WIDTH:])
    # At its most: a weight that is raised from zero begins with nothing.
    most, last = float(free.max()), median(free[-WIDTH:])
    is_untaught = level > 0 and reached >= 1 - NOTHING_SHARE
    outweighs = most >= LEAST_MOST * level and last <= FALLEN * most
    if not (is_untaught and outweighs):
        return None
    return Candidate(
        strength=measured(),
        message=f"the terms of the loss that read no target outweigh those that do: they fell from "
        f"{number(most)} to {number(last)}, while the others are at {number(data)}, no better "
        f"than the best constant answer, {number(level)}",
        advice="Divide the weight of the divergence or penalty by a hundred, or raise it slowly "
        "from zero. Take the same mean in all terms: a mean over pixels beside a sum over latent "
        "numbers weighs the latter a hundredfold.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=most / level,
        threshold=LEAST_MOST,
        unit="share of the level",
        earliest=0,
        evidence={
            "target_part": data,
            "target_part_constant": level,
            "free_part": [most, last],
            "query": example(
                "loss_graphs",
                "step, target_part, free_part, target_part_constant",
                where="n_terms is not null",
            ),
        },
    )
