"""A regression is trained on targets of mean 0 and deviation 1, those of the first batch.

Inside the loss functions of `torch.nn.functional`: the model's output is compared with the
standardised target, so the gradient is that of such a training. What the script gets, and what is
recorded, is the loss in the units of the script. A loss that is written by hand is not reached.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.capture.remedy import Dose, Function, Moment, Remedy, Treated

NAMES = ("input", "target")  # of the arguments that all of them have
LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


def attach(treated: Treated, _dose: Dose) -> None:
    """Replace the loss functions."""
    moments: list[tuple[Tensor, Tensor]] = []
    for name in LOSSES:
        treated.stand_in(functional, name, partial(_standardized, treated, moments))


def _standardized(
    treated: Treated, moments: list[tuple[Tensor, Tensor]], original: Function[Tensor]
) -> Function[Tensor]:
    def loss(*values: object, **named: object) -> Tensor:
        given = {**dict(zip(NAMES, values, strict=False)), **named}
        output, target = (given.pop(name, None) for name in NAMES)
        if not isinstance(output, Tensor) or not isinstance(target, Tensor):
            return original(*values, **named)
        trains = torch.is_grad_enabled() and output.requires_grad
        if not moments and trains and target.numel() > 1 and target.is_floating_point():
            known = target.detach()
            spread = known.std()
            moments.append((known.mean(), torch.where(spread > 0, spread, torch.ones_like(spread))))
        if not moments:
            return original(*values, **named)
        treated.acts()
        mean, deviation = moments[0]
        further = values[len(NAMES) :]
        shown = original(output * deviation + mean, target, *further, **given).detach()
        if not trains:
            return shown
        trained = original(output, (target - mean) / deviation, *further, **given)
        return shown + (trained - trained.detach())  # the value of one, the gradient of the other

    return loss


REMEDY = Remedy(
    id="standardize-targets",
    changes="trains a regression on targets of mean 0 and deviation 1",
    doses=("standardize-targets",),
    moment=Moment.FORWARD,
    attach=attach,
)
