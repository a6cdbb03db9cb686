"""The norm of all gradients is limited before each step."""

from functools import partial

from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from telemetry.capture.remedy import Dose, Moment, Remedy, Treated

NORM = 1.0


def attach(treated: Treated, dose: Dose) -> None:
    """Clip what each optimizer is about to use."""
    limit = dose.number(NORM)

    def clip(optimizer: Optimizer) -> None:
        # A norm below the limit multiplies by one, which changes no bit: nothing is read back.
        treated.acts()
        clip_grad_norm_((p for group in optimizer.param_groups for p in group["params"]), limit)

    treated.before_step(clip)


REMEDY = Remedy(
    id="clip",
    changes="clips the gradient norm before each step",
    doses=("clip=1.0",),
    treats={
        "exploding_gradient": ("clip=1.0",),
        "loss_spike": ("clip=1.0",),
        "non_finite": ("clip=1.0",),
        "learning_rate_too_high": ("clip=1.0",),
    },
    moment=Moment.UPDATE,
    attach=attach,
    check=partial(Dose.number, otherwise=NORM),
)
