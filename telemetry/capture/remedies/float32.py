"""Weights and operations in single precision, where they were in 16 bits."""

from typing import cast

import torch
from torch import Tensor, nn

from telemetry.capture.remedy import Dose, Function, Moment, Remedy, Treated

LOW = frozenset({torch.float16, torch.bfloat16})


def attach(treated: Treated, _dose: Dose) -> None:
    """Disable autocast, and bring weights and inputs of 16 bits to 32."""

    def make(enter: Function[object]) -> Function[object]:
        def disabled(*contexts: object, **_: object) -> object:
            (context,) = cast("tuple[torch.autocast]", contexts)
            if context._enabled:  # noqa: SLF001 - there is no other way to tell
                treated.acts()
                context._enabled = False  # noqa: SLF001 - as above
            return enter(context)

        return disabled

    treated.stand_in(torch.autocast, "__enter__", make)
    if any(parameter.dtype in LOW for parameter in treated.model.parameters()):
        treated.acts()
        treated.model.float()
        treated.before_forward(_widened)


def _widened(_module: nn.Module, arguments: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(
        value.float() if isinstance(value, Tensor) and value.dtype in LOW else value
        for value in arguments
    )


REMEDY = Remedy(
    id="float32",
    changes="computes in 32 bits what was in 16",
    doses=("float32",),
    treats={
        "low_precision_updates": ("float32",),
        "loss_scaler": ("float32",),
        "non_finite": ("float32",),
    },
    moment=Moment.FORWARD,
    attach=attach,
)
