"""Inputs as values from 0 to 1, before normalisation."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from telemetry.explain.inputs.examples import ExampleSet, Modality


def range_notes(examples: ExampleSet) -> list[str]:
    """What a reader must know about the range of images: that it was measured, and is odd."""
    if examples.modality is not Modality.IMAGE or examples.stated_range is not None:
        return []
    low, high = examples.value_range
    note = (
        f"some examples have values from {low:.4g} to {high:.4g}: add value_range to the data set"
    )
    if low < 0 and examples.normalisation[0] is None:
        note += ", and mean and std if its items are normalised"
    return [note]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitScale:
    """How inputs become values from 0 to 1 before normalisation, and back.

    Attributes:
        mean: Of the normalisation, one a channel; None: there is none.
        deviation: The same.
        low: Value before normalisation that becomes 0.
        high: Value that becomes 1.
    """

    mean: Tensor | None
    deviation: Tensor | None
    low: float
    high: float

    @classmethod
    def of(cls, examples: ExampleSet) -> Self:
        """The scale of a data set, of the range of its values."""
        mean, deviation = examples.normalisation
        low, high = examples.value_range
        return cls(mean=mean, deviation=deviation, low=low, high=high if high > low else low + 1)

    def unit(self, values: Tensor) -> Tensor:
        """Values from 0 to 1 of an input."""
        values = values.float()
        if self.mean is not None and self.deviation is not None:
            values = values * self.deviation + self.mean
        return (values - self.low) / (self.high - self.low)

    def input(self, unit: Tensor, dtype: torch.dtype) -> Tensor:
        """The input of values from 0 to 1."""
        values = unit * (self.high - self.low) + self.low
        if self.mean is not None and self.deviation is not None:
            values = (values - self.mean) / self.deviation
        return values.to(dtype) if dtype.is_floating_point else values.round().to(dtype)
