"""Parameters that no optimizer has are given to the first one, with its first group's settings."""

from telemetry.capture.remedy import Dose, Moment, NotApplicable, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Add them to the first group itself: a schedule does not expect another group."""
    groups = [group for one in treated.optimizers for group in one.param_groups]
    known = {id(p) for group in groups for p in group["params"]}
    forgotten = [p for p in treated.model.parameters() if p.requires_grad and id(p) not in known]
    if not forgotten or not groups:
        raise NotApplicable("every trainable parameter of the model is in an optimizer")
    former = list(groups[0]["params"])
    groups[0]["params"].extend(forgotten)
    treated.acts()
    treated.on_leave(lambda: groups[0].update(params=former))


REMEDY = Remedy(
    id="add-forgotten",
    changes="adds the model's forgotten parameters to the optimizer",
    restores=True,
    doses=("add-forgotten",),
    treats={
        "forgotten_parameters": ("add-forgotten",),
        "unchanged_parameters": ("add-forgotten",),
    },
    moment=Moment.UPDATE,
    attach=attach,
)
