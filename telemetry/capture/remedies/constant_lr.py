"""The learning rate stays what it was before the schedule began."""

from collections.abc import Mapping

from telemetry.capture.remedy import Dose, Group, Moment, Remedy, Treated


def attach(treated: Treated, _dose: Dose) -> None:
    """Step with the first rate: that which schedules keep, else that of the first step."""
    groups = [group for one in treated.optimizers for group in one.param_groups]
    first = {id(group["params"]): group.get("initial_lr", group.get("lr")) for group in groups}

    def settings(_number: int, group: Group) -> Mapping[str, object]:
        rate = first.get(id(group["params"]))
        if rate is None or rate == group.get("lr"):
            return {}
        treated.acts()
        return {"lr": rate}

    treated.in_step(settings)


REMEDY = Remedy(
    id="constant-lr",
    changes="keeps the learning rate constant, whatever the schedule says",
    doses=("constant-lr",),
    treats={"schedule": ("constant-lr",)},
    moment=Moment.UPDATE,
    attach=attach,
)
