"""In what two inputs differ: cells of images, edits of texts, columns of rows.

Each difference can be taken from the one input into the other; the mixture is an input again.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, ExampleSet, Modality
from telemetry.explain.inputs.inpainting import filled_in
from telemetry.explain.inputs.masks import Box, like, soft_mask
from telemetry.explain.inputs.plain_images import blurred
from telemetry.explain.inputs.segments import SIGNAL_DIMENSIONS, segments_of
from telemetry.explain.reduction.edits import Edit
from telemetry.explain.reduction.stretches import stretches_of
from telemetry.explain.reduction.token_edits import token_edits

MOST_CELLS = 256  # of an image: the cost of a search grows faster than their number
# Of the spread of an image's values: the details of two images that have nothing to do with each
# other differ by 1.1 of it on average.
NOTABLE = 0.5
LEAST_SPREAD = 1e-6


class Differences(Protocol):
    """The differences between two inputs, numbered from 0 in an order that keeps neighbours."""

    def __len__(self) -> int:
        """How many."""
        ...

    def mixed(self, taken: Collection[int]) -> Tensor:
        """The wrong input with some differences taken from the right one."""
        ...

    def edits(self, taken: Collection[int]) -> list[Edit]:
        """Differences in words; none for images."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Square parts of images of one size, in Morton order; equal cells are left out.

    Attributes:
        wrong: Shape (channels, height, width).
        right: The other, of the same shape.
        side: Of a cell, in pixels.
        boxes: Of the cells that differ.
    """

    wrong: Tensor
    right: Tensor
    side: int
    boxes: tuple[Box, ...]

    def __len__(self) -> int:
        return len(self.boxes)

    def mixed(self, taken: Collection[int]) -> Tensor:
        """The wrong image with some cells of the right one."""
        mask = self.mask(taken)
        return torch.where(mask, self.other(mask), self.wrong)

    def faded(self, taken: Collection[int]) -> Tensor:
        """The same with an edge of one pixel that fades out."""
        soft = soft_mask(self.mask(taken))
        mixture = soft * self.other(soft > 0) + (1 - soft) * self.wrong
        return like(mixture, self.wrong)

    def other(self, mask: Tensor) -> Tensor:
        """What the pixels of a mask become, an image."""
        del mask
        return self.right

    def edits(self, taken: Collection[int]) -> list[Edit]:
        """None: cells are shown, not named."""
        del taken
        return []

    def mask(self, taken: Collection[int]) -> Tensor:
        """Where cells lie, bool of shape (height, width)."""
        found = torch.zeros(self.wrong.shape[1:], dtype=torch.bool)
        for item in taken:
            y0, x0, y1, x1 = self.boxes[item]
            found[y0:y1, x0:x1] = True
        return found

    @property
    def notable_share(self) -> float:
        """Share of the image that differs notably in its details.

        Another light and another background differ smoothly and do not count, but at their edges.
        """
        difference = (self.right - self.wrong).double()
        pixels = (difference - blurred(difference)).abs().mean(0, keepdim=True)
        cells = functional.avg_pool2d(pixels, self.side, ceil_mode=True)
        variances = [image.double().flatten(1).var(1).mean() for image in (self.wrong, self.right)]
        spread = math.sqrt(sum(map(float, variances)) / len(variances))
        return float((cells > NOTABLE * max(spread, LEAST_SPREAD)).double().mean())


class FilledCells(Cells):
    """Cells of an image that are filled in from what lies around them."""

    __slots__ = ()

    def other(self, mask: Tensor) -> Tensor:
        """What the pixels of a mask become, an image."""
        return filled_in(self.wrong, mask)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Columns:
    """Columns of two rows that differ."""

    wrong: Tensor
    right: Tensor
    places: tuple[int, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.places)

    def mixed(self, taken: Collection[int]) -> Tensor:
        """The wrong row with some columns of the right one."""
        row = self.wrong.clone()
        places = [self.places[item] for item in taken]
        row[places] = self.right[places]
        return row

    def edits(self, taken: Collection[int]) -> list[Edit]:
        """Each column with both values."""
        return [
            Edit(
                name=self.names[place],
                before=float(self.wrong[place]),
                after=float(self.right[place]),
            )
            for place in sorted(self.places[item] for item in taken)
        ]


def differences_of(
    wrong: Tensor,
    right: Tensor,
    examples: ExampleSet,
    *,
    cell: int | None = None,
    fills: bool = False,
    immutable: Collection[str] = (),
) -> Differences:
    """The differences of two inputs, as their modality asks.

    Args:
        wrong: The input that is answered wrongly.
        right: The other.
        examples: Their data set, which knows names of columns and tokens.
        cell: Side of a cell of an image, in pixels; None: 2, or what gives 256 cells.
        fills: Whether cells of the wrong image are filled in; the right one does not count.
        immutable: Columns that stay as they are.

    Raises:
        UsageError: they have other shapes, or do not differ.
    """
    if examples.modality is Modality.TEXT and wrong.dim() == 1 and right.dim() == 1:
        found: Differences = token_edits(wrong, right, examples)
    else:
        if wrong.shape != right.shape:
            raise UsageError(
                f"--right: shape {tuple(right.shape)}, and the wrong input has "
                f"{tuple(wrong.shape)}; choose one of the same shape."
            )
        found = _of_one_shape(wrong, right, examples, cell, immutable, fills=fills)
    if not len(found):
        raise UsageError("both inputs are equal; choose another --right.")
    return found


def _of_one_shape(
    wrong: Tensor,
    right: Tensor,
    examples: ExampleSet,
    cell: int | None,
    immutable: Collection[str],
    *,
    fills: bool,
) -> Differences:
    if wrong.dim() == IMAGE_DIMENSIONS:
        return _cells(wrong, right, cell, fills=fills)
    if wrong.dim() == SIGNAL_DIMENSIONS or examples.several is not None:
        return stretches_of(wrong, right, segments_of(wrong, examples))
    return _columns(wrong, right, examples, immutable)


def _cells(wrong: Tensor, right: Tensor, cell: int | None, *, fills: bool) -> Cells:
    height, width = wrong.shape[1:]
    if cell is not None and not 0 < cell <= min(height, width):
        raise UsageError(f"--cell {cell}: an image of {height}x{width} has no such cells.")
    side = cell or 2
    while cell is None and -(-height // side) * -(-width // side) > MOST_CELLS:
        side += 1
    boxes = [
        (y, x, min(y + side, height), min(x + side, width))
        for y in range(0, height, side)
        for x in range(0, width, side)
    ]
    boxes.sort(key=lambda box: _morton(box[0] // side, box[1] // side))
    differ = torch.ones(height, width, dtype=torch.bool) if fills else (wrong != right).any(0)
    return (FilledCells if fills else Cells)(
        wrong=wrong,
        right=right,
        side=side,
        boxes=tuple(box for box in boxes if bool(differ[box[0] : box[2], box[1] : box[3]].any())),
    )


def _morton(row: int, column: int) -> int:
    """Place on a curve that fills squares one after another: its halves are compact.

    Source: Morton, A computer oriented geodetic data base, IBM 1966.
    """
    bits = max(row, column).bit_length()
    return sum(
        (row >> bit & 1) << (2 * bit + 1) | (column >> bit & 1) << (2 * bit) for bit in range(bits)
    )


def _columns(
    wrong: Tensor, right: Tensor, examples: ExampleSet, immutable: Collection[str]
) -> Columns:
    if wrong.dim() != 1:
        raise UsageError(
            f"inputs of shape {tuple(wrong.shape)} are neither images, signals, rows nor texts."
        )
    names = examples.element_names(wrong)
    unknown = sorted(set(immutable) - set(names))
    if unknown:
        raise UsageError(f"--immutable {unknown[0]}: no such column; {', '.join(names[:8])}.")
    places = [
        place
        for place, name in enumerate(names)
        if name not in immutable and bool(wrong[place] != right[place])
    ]
    return Columns(wrong=wrong, right=right, places=tuple(places), names=tuple(names))
