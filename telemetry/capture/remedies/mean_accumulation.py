"""The gradient of an accumulation is divided by its number of backward passes."""

import torch
from torch.optim import Optimizer

from telemetry.capture.remedy import Dose, Moment, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Count the passes of each optimizer's step, and divide by them."""
    passes = {id(optimizer): 0 for optimizer in treated.optimizers}

    def note() -> None:
        for identity in passes:
            passes[identity] += 1

    def divide(optimizer: Optimizer) -> None:
        n_passes = passes[id(optimizer)]
        passes[id(optimizer)] = 0
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if n_passes > 1 and gradients:
            treated.acts()
            torch._foreach_mul_(gradients, 1 / n_passes)

    treated.on_backward(note)
    treated.before_step(divide)


REMEDY = Remedy(
    id="mean-accumulation",
    changes="divides the gradient by the number of backward passes of a step",
    restores=True,
    doses=("mean-accumulation",),
    treats={"loss_multiplier": ("mean-accumulation",)},
    moment=Moment.UPDATE,
    attach=attach,
)
