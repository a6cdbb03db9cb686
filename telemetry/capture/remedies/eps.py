"""Another epsilon in the optimizer's denominator."""

from collections.abc import Mapping
from functools import partial

from telemetry.capture.remedy import Dose, Group, Moment, NotApplicable, Remedy, Treated

EPSILON = 1e-8  # the default of torch's optimizers of the Adam family


def attach(treated: Treated, dose: Dose) -> None:
    """Step with it."""
    epsilon = dose.number(EPSILON)
    groups = [group for one in treated.optimizers for group in one.param_groups]
    if not any(_is_other(group, epsilon) for group in groups):
        raise NotApplicable(f"no optimizer has an epsilon other than {epsilon:g}")

    def settings(_number: int, group: Group) -> Mapping[str, object]:
        if not _is_other(group, epsilon):
            return {}
        treated.acts()
        return {"eps": epsilon}

    treated.in_step(settings)


def _is_other(group: Group, epsilon: float) -> bool:
    """Adafactor has a pair of them, which are something else."""
    known = group.get("eps")
    return isinstance(known, float | int) and known != epsilon


REMEDY = Remedy(
    id="eps",
    changes="sets the optimizer's epsilon",
    doses=("eps=1e-8",),
    treats={"epsilon_domination": ("eps=1e-8",)},
    moment=Moment.UPDATE,
    attach=attach,
    check=partial(Dose.number, otherwise=EPSILON),
)
