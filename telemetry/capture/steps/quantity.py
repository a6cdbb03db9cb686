"""What a recorded quantity of steps is: columns of `steps`, who fills them, and how.

Each file of `capture/quantities/` defines QUANTITY, a `StepQuantity` whose id is the file's name.
On the training thread its observer puts numbers into `record.values` or `record.parts`, by column;
a number may be a tensor, which stays on its device. The writer thread brings the numbers of many
steps to the host in one copy, and the reduction makes the cells of their rows.
"""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from telemetry.capture.isolation.contained import contained
from telemetry.capture.steps.observer import StepObserver

logger = logging.getLogger(__name__)

Numbers: TypeAlias = tuple[float, ...]
Cells: TypeAlias = Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSteps:
    """What is known of the steps of a packet, oldest first; one entry a step.

    Attributes:
        kept: By column: the numbers that its quantity has kept; `()` where it kept none.
        scales: Loss scale, 1 without one.
        roots: What the backward passes started from, without the loss scale.
        reported: Mean of the losses that the loop has reported; None without any.
        returned: Sum of what its closures returned; None without one.
    """

    kept: Mapping[str, Sequence[Numbers]]
    scales: Sequence[float]
    roots: Sequence[Numbers]
    reported: Cells
    returned: Cells


class Reduction(Protocol):
    """Makes cells from numbers; it is given all steps of a recording in turn, and may remember."""

    def __call__(self, steps: HostSteps) -> Mapping[str, Cells]:
        """Cells by column, one a step; runs on the writer thread."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQuantity:
    """One recorded quantity of steps.

    Attributes:
        id: Name of its file.
        columns: Columns of `steps` that it fills; none where it only tells events.
        observer: Watches the steps and keeps the numbers; None where a part of the recording does.
        reduction: Makes the reduction of one recording; None: a cell is the number that was kept,
            or the sum of the parts.
        corrects: Columns of others in which its cells count wherever they are not None.
        otherwise: The cell of a step of which nothing was kept.
        is_sum: Forwards and backward passes add to it: where several optimizers take turns, what
            came after the last one's step is of the next step.
    """

    id: str
    columns: tuple[str, ...]
    observer: type[StepObserver] | None = None
    reduction: Callable[[], Reduction] | None = None
    corrects: tuple[str, ...] = ()
    otherwise: float | None = None
    is_sum: bool = False


class Reductions:
    """The reductions of one recording; but for the making, they belong to the writer thread.

    One that fails is asked no more: its columns are NULL from then on, and the rows stay.

    Attributes:
        columns: All that the quantities keep numbers of.
    """

    def __init__(self, quantities: Sequence[StepQuantity] = ()) -> None:
        self._quantities = [(each, _reduction_of(each)) for each in quantities]
        self.columns = tuple(column for each in quantities for column in each.columns)

    def fill(self, columns: dict[str, Sequence[object]], steps: HostSteps) -> None:
        """Add the cells of all quantities to those that are known."""
        for quantity, reduction in tuple(self._quantities):
            with contained(functools.partial(self._switch_off, quantity)):
                for name, cells in reduction(steps).items():
                    if name in quantity.corrects:
                        pairs = zip(cells, columns[name], strict=True)
                        columns[name] = [known if own is None else own for own, known in pairs]
                    else:
                        columns[name] = cells

    def _switch_off(self, quantity: StepQuantity, error: Exception) -> None:
        self._quantities = [entry for entry in self._quantities if entry[0] is not quantity]
        logger.warning(
            "telemetry: %s of coming steps is not recorded (%s: %s)",
            *(quantity.id, type(error).__name__, error),
        )


class _AsKept:
    """The number that was kept, or the sum of several."""

    def __init__(self, quantity: StepQuantity) -> None:
        self._columns, self._otherwise = quantity.columns, quantity.otherwise

    def __call__(self, steps: HostSteps) -> Mapping[str, Cells]:
        return {
            column: [sum(numbers) if numbers else self._otherwise for numbers in steps.kept[column]]
            for column in self._columns
        }


def _reduction_of(quantity: StepQuantity) -> Reduction:
    return _AsKept(quantity) if quantity.reduction is None else quantity.reduction()


def sum_columns(quantities: Sequence[StepQuantity]) -> frozenset[str]:
    """Columns to which forwards and backward passes add."""
    return frozenset(column for each in quantities if each.is_sum for column in each.columns)
