"""Parts of an image filled in from what lies around them.

Source: the pull and push of Gortler et al. 1996, The Lumigraph: coarser and coarser means of what
is known, and what is missing taken from the finest of them that knows it.
"""

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.explain.inputs.masks import like

EPSILON = 1e-6


def filled_in(image: Tensor, missing: Tensor) -> Tensor:
    """An image whose missing pixels are made of the known ones; where none is, of the mean colour.

    Args:
        image: Shape (channels, height, width).
        missing: Bool of shape (height, width).
    """
    values = image.double()[None]
    if bool(missing.all()):
        found = values.mean((2, 3), keepdim=True).expand_as(values)
    else:
        found = _filled(values, (~missing).double()[None, None])
    return like(found[0], image)


def _filled(values: Tensor, known: Tensor) -> Tensor:
    """Values where they are known by 1, else from a grid of half the size."""
    if bool((known > 0).all()):
        return values
    share = functional.avg_pool2d(known, 2, ceil_mode=True)
    means = functional.avg_pool2d(values * known, 2, ceil_mode=True) / share.clamp_min(EPSILON)
    coarse = _filled(means, (share > 0).double())
    size = (int(values.shape[2]), int(values.shape[3]))
    wide = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return torch.where(known > 0, values, wide)
