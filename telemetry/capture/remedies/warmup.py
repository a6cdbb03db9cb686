"""Warm-up: the rate grows from nothing in the first steps, times whatever the schedule says."""

from collections.abc import Mapping
from functools import partial

from telemetry.capture.remedy import Dose, Group, Moment, Remedy, Treated

STEPS = 20


def attach(treated: Treated, dose: Dose) -> None:
    """Multiply the rate by a share that reaches 1 after so many steps."""
    n_steps = dose.number(STEPS)

    def settings(_number: int, group: Group) -> Mapping[str, object]:
        if treated.step + 1 >= n_steps or "lr" not in group:
            return {}
        treated.acts()
        return {"lr": group["lr"] * ((treated.step + 1) / n_steps)}  # type: ignore[operator]

    treated.in_step(settings)


REMEDY = Remedy(
    id="warmup",
    changes="lets the learning rate grow from nothing over the first steps",
    doses=("warmup=20",),
    treats={"learning_rate_too_high": ("warmup=20",), "loss_spike": ("warmup=20",)},
    moment=Moment.UPDATE,
    attach=attach,
    check=partial(Dose.number, otherwise=STEPS),
)
