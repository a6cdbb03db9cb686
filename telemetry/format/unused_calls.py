"""From how many calls of `step()` without a step of an optimizer on something is wrong."""

CLEARED_CALLS = 16  # where gradients are cleared between them: they do not accumulate
FEW_CALLS = 20  # and twice as many as a step of this loop has taken
MANY_CALLS = 64  # where no step is known: more micro-batches are seldom accumulated
