"""Frozen parameters are trained, with the settings of the first optimizer's first group."""

from torch import nn

from telemetry.capture.remedy import Dose, Moment, NotApplicable, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Ask for their gradients, and add those to the first group that no optimizer has."""
    frozen = [p for p in treated.model.parameters() if not p.requires_grad]
    groups = [group for one in treated.optimizers for group in one.param_groups]
    if not frozen or not groups:
        raise NotApplicable("the model has no frozen parameter")
    known = {id(p) for group in groups for p in group["params"]}
    former = list(groups[0]["params"])
    for parameter in frozen:
        parameter.requires_grad_(True)  # noqa: FBT003 - torch's own signature
    groups[0]["params"].extend(p for p in frozen if id(p) not in known)
    treated.acts()
    treated.on_leave(lambda: groups[0].update(params=former))
    treated.on_leave(lambda: _freeze(frozen))


def _freeze(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.requires_grad_(False)  # noqa: FBT003 - as above


REMEDY = Remedy(
    id="unfreeze",
    changes="trains the frozen parameters",
    doses=("unfreeze",),
    treats={"unchanged_parameters": ("unfreeze",)},
    moment=Moment.UPDATE,
    attach=attach,
)
