"""Dropout layers let everything through; dropout in a function's call is not reached."""

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from telemetry.capture.remedy import Dose, Moment, NotApplicable, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Set every layer's share to 0."""
    named = [(module, _share_name(module)) for module in treated.model.modules()]
    active = [(module, name) for module, name in named if name and getattr(module, name)]
    if not active:
        raise NotApplicable("the model has no layer with dropout")
    treated.acts()
    for module, name in active:
        treated.replace(module, name, 0.0)


def _share_name(module: nn.Module) -> str | None:
    if isinstance(module, _DropoutNd):
        return "p"
    return "dropout" if isinstance(module, nn.MultiheadAttention | nn.RNNBase) else None


REMEDY = Remedy(
    id="no-dropout",
    changes="turns dropout layers off",
    doses=("no-dropout",),
    treats={"over_regularized": ("no-dropout",)},
    moment=Moment.FORWARD,
    attach=attach,
    same_loss=False,
)
