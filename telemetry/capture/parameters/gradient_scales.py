"""From the clippings and the loss scale of a step to the state of each gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.steps.provenance import ClipRecord, Provenance
from telemetry.capture.tensors.sample_plan import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GradientScales:
    """State of the gradients of one block.

    Attributes:
        provenance: One of `Provenance` per parameter.
        factors: 0-d tensors: clip coefficients and the loss scale.
        applies: Which factor is in which gradient, shape (n_factors, n_parameters).
        unknown: Gradients whose scale cannot be told (value clipping), shape (n_parameters,).
    """

    provenance: Sequence[Provenance]
    factors: Sequence[Tensor]
    applies: BoolArray
    unknown: BoolArray

    def values(self) -> FloatArray:
        """Seen = scale x unscaled; NaN where it cannot be told. May wait for the device."""
        result = np.where(self.unknown, np.nan, 1.0)
        for factor, applies in zip(self.factors, self.applies, strict=True):
            result = np.where(applies, result * float(factor), result)
        return result


def scales_of(
    parameters: Sequence[Tensor], clip: ClipRecord | None, loss_scale: Tensor | None
) -> GradientScales:
    """State of the gradients of some parameters.

    Args:
        parameters: As the optimizer holds them.
        clip: The clippings before the step.
        loss_scale: Factor that the loss scaler left in all of them, 0-d.
    """
    n = len(parameters)
    calls = () if clip is None else clip.calls
    factors: list[Tensor] = []
    applies: list[list[bool]] = []
    clipped = np.zeros(n, dtype=np.bool_)
    unknown = np.zeros(n, dtype=np.bool_)
    for call in calls:
        touched = [id(parameter) in call.parameters for parameter in parameters]
        clipped |= touched
        coefficient = call.coefficient
        if coefficient is None:
            unknown |= touched
        else:
            factors.append(coefficient)
            applies.append(touched)
    if loss_scale is not None:
        factors.append(loss_scale)
        applies.append([True] * n)
    untouched = Provenance.UNSCALED if loss_scale is None else Provenance.RAW
    touched_state = Provenance.CLIPPED if loss_scale is None else Provenance.RAW
    return GradientScales(
        provenance=[touched_state if is_clipped else untouched for is_clipped in clipped],
        factors=factors,
        applies=np.array(applies, dtype=np.bool_).reshape(len(factors), n),
        unknown=unknown,
    )


def unscaled_sumsq(sumsq: Tensor, scales: GradientScales) -> Tensor | None:
    """Sums of squares without clipping and loss scale; None where that cannot be told.

    Args:
        sumsq: Of each gradient as the optimizer saw it, shape (n_parameters,).
        scales: State of the gradients.
    """
    if scales.unknown.any():
        return None
    for factor, applies in zip(scales.factors, scales.applies, strict=True):
        square = factor.to(sumsq.device, sumsq.dtype, non_blocking=True).square()
        if applies.all():
            sumsq = sumsq / square
        else:
            mask = torch.from_numpy(applies).to(sumsq.device, non_blocking=True)
            sumsq = torch.where(mask, sumsq / square, sumsq)
    return sumsq
