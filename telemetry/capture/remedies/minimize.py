"""The loss is minimised where the optimizer was told to maximise it."""

from collections.abc import Mapping

from telemetry.capture.remedy import Dose, Group, Moment, NotApplicable, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Step the other way."""
    groups = [group for one in treated.optimizers for group in one.param_groups]
    if not any(group.get("maximize") for group in groups):
        raise NotApplicable("no optimizer maximises")

    def settings(_number: int, group: Group) -> Mapping[str, object]:
        if not group.get("maximize"):
            return {}
        treated.acts()
        return {"maximize": False}

    treated.in_step(settings)


REMEDY = Remedy(
    id="minimize",
    changes="minimises the loss where an optimizer maximises it",
    restores=True,
    doses=("minimize",),
    treats={"gradient_ascent": ("minimize",)},
    moment=Moment.UPDATE,
    attach=attach,
)
