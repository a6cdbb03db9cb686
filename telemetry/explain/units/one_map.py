"""Whether the deconvolutions of a unit are one picture: without a switch no input has a say in it.

What comes back from a unit depends on the input through switches of max-pooling and through
non-linearities that are no ReLU, and on nothing else: a ReLU passes positive gradients whatever it
was given.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from telemetry.explain.inputs.masks import Box

SAME = 1e-5  # of the largest value: what sums in another order may make


def are_one_map(maps: Sequence[Tensor], boxes: Sequence[Box | None], size: tuple[int, int]) -> bool:
    """Whether several maps are the same picture, each cropped to what the unit sees.

    Args:
        maps: Shape (channels, height, width) each.
        boxes: What the unit sees of each; None: all of it.
        size: Height and width of what it sees where no border cuts it.
    """
    if len(maps) < 2:  # noqa: PLR2004 - nothing to compare
        return False
    windows = [_window(values, box, size) for values, box in zip(maps, boxes, strict=True)]
    if len({window.shape for window in windows}) > 1:
        return False
    whole = windows[largest(boxes)]
    return all(_agree(whole, window) for window in windows)


def largest(boxes: Sequence[Box | None]) -> int:
    """The first of those that a border cuts least."""
    corners = (box or (0, 0, 0, 0) for box in boxes)
    areas = [(bottom - top) * (right - left) for top, left, bottom, right in corners]
    return areas.index(max(areas))


def _window(values: Tensor, box: Box | None, size: tuple[int, int]) -> Tensor:
    """The part that the unit sees in a field of full size; NaN beyond the image."""
    if box is None:
        return values
    top, left, bottom, right = box
    height, width = size
    down = height - (bottom - top) if top == 0 else 0
    across = width - (right - left) if left == 0 else 0
    field = values.new_full((len(values), height, width), torch.nan)
    field[:, down : down + bottom - top, across : across + right - left] = values[
        :, top:bottom, left:right
    ]
    return field


def _agree(whole: Tensor, window: Tensor) -> bool:
    both = ~(whole.isnan() | window.isnan())
    largest_value = whole.nan_to_num().abs().max()
    return bool(((whole - window)[both].abs() <= SAME * largest_value).all())
