"""A softmax before `cross_entropy`, which has one of its own, is left out of the gradient.

What the script gets, and what is recorded, is the loss as the script computes it; the gradient is
that of the loss without the first softmax.
"""

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.capture.remedy import Dose, Function, Moment, Remedy, Treated

SOFTMAX = "SoftmaxBackward0"  # the node that it leaves in the graph


def attach(treated: Treated, _dose: Dose) -> None:
    """Replace the loss function."""

    def make(original: Function[Tensor]) -> Function[Tensor]:
        def loss(*arguments: object, **named: object) -> Tensor:
            shown = original(*arguments, **named)
            output = arguments[0] if arguments else named.get("input")
            if not isinstance(output, Tensor) or output.grad_fn is None:
                return shown
            if output.grad_fn.name() != SOFTMAX:
                return shown
            treated.acts()
            # The logarithm of a softmax is its input but for a number an example: the loss stays.
            logits = output.clamp_min(torch.finfo(output.dtype).tiny).log()
            others = {name: value for name, value in named.items() if name != "input"}
            trained = original(logits, *arguments[1:], **others)
            return shown.detach() + (trained - trained.detach())

        return loss

    treated.stand_in(functional, "cross_entropy", make)


REMEDY = Remedy(
    id="no-softmax",
    changes="leaves out a softmax before cross_entropy",
    restores=True,
    doses=("no-softmax",),
    treats={"softmax_into_cross_entropy": ("no-softmax",)},
    moment=Moment.UPDATE,
    attach=attach,
)
