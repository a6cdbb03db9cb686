"""Gradients are cleared after each step, as `optimizer.zero_grad()` does where it is not missing.

Several backward passes of one step add up as before.
"""

from torch.optim import Optimizer

from telemetry.capture.remedy import Dose, Moment, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Clear after each step, not before each backward pass: that would end an accumulation."""

    def clear(optimizer: Optimizer) -> None:
        treated.acts()
        optimizer.zero_grad()

    treated.after_step(clear)


REMEDY = Remedy(
    id="zero-grad",
    changes="clears the gradients after each step",
    restores=True,
    doses=("zero-grad",),
    treats={"gradients_not_cleared": ("zero-grad",)},
    moment=Moment.UPDATE,
    attach=attach,
)
