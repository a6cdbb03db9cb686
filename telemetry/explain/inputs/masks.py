"""Places of images: boxes; and masks, how many parts they have, how they look with a soft edge."""

import torch
from torch import Tensor
from torch.nn import functional

Box = tuple[int, int, int, int]  # y0, x0, y1, x1; the ends excluded


def components(mask: Tensor) -> int:
    """Connected parts of a mask of shape (height, width), diagonals included."""
    left = {(int(y), int(x)) for y, x in mask.nonzero().tolist()}
    count = 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
    return count


def soft_mask(mask: Tensor) -> Tensor:
    """The mask with an edge of one pixel that fades out, shape (height, width), 0 to 1."""
    wide = functional.max_pool2d(mask[None, None].float(), 3, stride=1, padding=1)
    soft = functional.avg_pool2d(wide, 3, stride=1, padding=1, count_include_pad=False)[0, 0]
    return torch.where(mask, 1.0, soft)


def like(values: Tensor, model: Tensor) -> Tensor:
    """Values of the type of another tensor; whole numbers are rounded."""
    shown = values if model.is_floating_point() else values.round()
    return shown.to(model.dtype)
