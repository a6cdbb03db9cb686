"""Stretches of the channels of two signals that differ, each taken as a whole."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.explain.inputs.segments import Segments
from telemetry.explain.reduction.edits import Edit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretches:
    """Parts of two signals of one shape (channels, length) that differ.

    Attributes:
        wrong: One signal.
        right: The other.
        segments: Parts of both.
        places: Which of them differ.
    """

    wrong: Tensor
    right: Tensor
    segments: Segments
    places: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.places)

    def mixed(self, taken: Collection[int]) -> Tensor:
        """The wrong signal with some stretches of the right one."""
        chosen = torch.tensor([self.places[item] for item in taken], dtype=torch.int64)
        return torch.where(torch.isin(self.segments.labels, chosen), self.right, self.wrong)

    def edits(self, taken: Collection[int]) -> list[Edit]:
        """Each stretch with both means."""
        return [
            Edit(
                name=f"mean of {self.segments.names[place]}",
                before=self._mean(self.wrong, place),
                after=self._mean(self.right, place),
            )
            for place in sorted(self.places[item] for item in taken)
        ]

    def _mean(self, signal: Tensor, place: int) -> float:
        return float(signal[self.segments.labels == place].double().mean())


def stretches_of(wrong: Tensor, right: Tensor, segments: Segments) -> Stretches:
    """The parts in which two signals differ."""
    differ = segments.totals((wrong != right).double()) > 0
    return Stretches(
        wrong=wrong,
        right=right,
        segments=segments,
        places=tuple(int(place) for place in differ.nonzero().flatten()),
    )
