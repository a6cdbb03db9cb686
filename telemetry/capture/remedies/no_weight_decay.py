"""Weight decay is off."""

from collections.abc import Mapping

from telemetry.capture.remedy import Dose, Group, Moment, NotApplicable, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Step without it."""
    groups = [group for one in treated.optimizers for group in one.param_groups]
    if not any(group.get("weight_decay") for group in groups):
        raise NotApplicable("no optimizer has a weight decay")

    def settings(_number: int, group: Group) -> Mapping[str, object]:
        if not group.get("weight_decay"):
            return {}
        treated.acts()
        return {"weight_decay": 0.0}

    treated.in_step(settings)


REMEDY = Remedy(
    id="no-weight-decay",
    changes="steps without weight decay",
    doses=("no-weight-decay",),
    treats={"over_regularized": ("no-weight-decay",)},
    moment=Moment.UPDATE,
    attach=attach,
)
