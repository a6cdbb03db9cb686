"""Sum of the constants by which the roots of accumulated backward passes were multiplied.

They also say what the loss of a step is where the loop divides those of its micro-batches and
reports none itself.
"""

from collections.abc import Mapping

from telemetry.capture.gradients.accumulation import ROOT_FACTOR_SUM, RootFactors
from telemetry.capture.steps.divided_losses import DividedLosses
from telemetry.capture.steps.quantity import Cells, HostSteps, StepQuantity


class FactorSums:
    """Sums the factors without the loss scale, and corrects losses by them."""

    def __init__(self) -> None:
        self._divided = DividedLosses()

    def __call__(self, steps: HostSteps) -> Mapping[str, Cells]:
        """Columns root_factor_sum and loss."""
        sums: list[float | None] = []
        losses: list[float | None] = []
        for factors, scale, roots, reported, returned in zip(
            steps.kept[ROOT_FACTOR_SUM],
            steps.scales,
            steps.roots,
            steps.reported,
            steps.returned,
            strict=True,
        ):
            total = sum(factor / scale for factor in factors) if factors else None
            self._divided.learn(total, len(roots))
            sums.append(total)
            losses.append(None if reported is not None else self._divided.loss(roots, returned))
        return {ROOT_FACTOR_SUM: sums, "loss": losses}


QUANTITY = StepQuantity(
    id="root_factors",
    columns=(ROOT_FACTOR_SUM,),
    observer=RootFactors,
    reduction=FactorSums,
    corrects=("loss",),
)
