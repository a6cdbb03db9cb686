"""Another learning rate: multiplied in each step, so that a schedule goes on as before."""

from collections.abc import Mapping

from telemetry.capture.remedy import Dose, Group, Moment, NotApplicable, Remedy, Treated


def attach(treated: Treated, dose: Dose) -> None:
    """Multiply the rate of each group, or of one."""
    factor = dose.factor()
    n_groups = max((len(one.param_groups) for one in treated.optimizers), default=0)
    if dose.group is not None and dose.group >= n_groups:
        raise NotApplicable(f"no optimizer has a parameter group {dose.group}")

    def settings(number: int, group: Group) -> Mapping[str, object]:
        rate = group.get("lr")
        if dose.group not in {None, number} or not rate:
            return {}
        treated.acts()
        return {"lr": rate * factor}  # type: ignore[operator]

    treated.in_step(settings)


REMEDY = Remedy(
    id="lr",
    changes="multiplies or divides the learning rate",
    doses=("lr/8", "lr/64", "lr*8", "lr*64"),
    treats={
        "learning_rate_too_high": ("lr/8", "lr/64"),
        "learning_rate_too_low": ("lr*8", "lr*64"),
        "exploding_gradient": ("lr/8",),
        "loss_spike": ("lr/8",),
        "gradient_oscillation": ("lr/8",),
        "loss_not_decreasing": ("lr/8", "lr*8"),
        "loss_plateau": ("lr*8", "lr/8"),
        "update_ratio": ("lr/8", "lr*8"),
        "non_finite": ("lr/8",),
        "dead_units": ("lr/8",),
    },
    moment=Moment.UPDATE,
    attach=attach,
    check=Dose.factor,
)
