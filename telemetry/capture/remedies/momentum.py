"""SGD with another momentum; the rate stays, so that a step grows by 1 / (1 - momentum)."""

from collections.abc import Mapping

from telemetry.capture.remedy import Dose, Group, Moment, NotApplicable, Remedy, Treated
from telemetry.errors import UsageError

MOMENTUM = 0.9


def attach(treated: Treated, dose: Dose) -> None:
    """Step with it."""
    momentum = dose.number(MOMENTUM)
    groups = [group for one in treated.optimizers for group in one.param_groups]
    if all(group.get("momentum", momentum) == momentum for group in groups):
        raise NotApplicable(f"no optimizer has a momentum other than {momentum:g}")

    def settings(_number: int, group: Group) -> Mapping[str, object]:
        if group.get("momentum", momentum) == momentum:
            return {}
        treated.acts()
        return {"momentum": momentum}

    treated.in_step(settings)


def check(dose: Dose) -> None:
    """A number below 1."""
    if dose.number(MOMENTUM) >= 1:
        raise UsageError(f"remedy {dose.text!r} needs a number below 1, as momentum=0.9.")


REMEDY = Remedy(
    id="momentum",
    changes="sets the momentum of SGD",
    doses=("momentum=0.9",),
    treats={"learning_rate_too_low": ("momentum=0.9",), "loss_plateau": ("momentum=0.9",)},
    moment=Moment.UPDATE,
    attach=attach,
    check=check,
)
