"""Images without their details: smoothed, or of one colour."""

from torch import Tensor
from torch.nn import functional

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS
from telemetry.explain.inputs.masks import like

BLUR_SHARE = 7 / 24  # of the shorter side: a box of 7 px at 24 px


def blurred(values: Tensor) -> Tensor:
    """An image smoothed by a box of 7/24 of its shorter side.

    Raises:
        UsageError: no image.
    """
    if values.dim() != IMAGE_DIMENSIONS:
        raise UsageError(
            f"an input of shape {tuple(values.shape)} is not an image, so it cannot be blurred."
        )
    size = max(3, round(BLUR_SHARE * min(values.shape[1:])) | 1)
    padded = functional.pad(_fractions(values)[None], [size // 2] * 4, mode="replicate")
    return like(functional.avg_pool2d(padded, size, stride=1)[0], values)


def mean_colour(values: Tensor) -> Tensor:
    """An image of one colour, its own mean.

    Raises:
        UsageError: no image.
    """
    if values.dim() != IMAGE_DIMENSIONS:
        raise UsageError(
            f"an input of shape {tuple(values.shape)} is not an image, so it has no mean colour."
        )
    mean = _fractions(values).mean((1, 2), keepdim=True)
    return like(mean.expand_as(values).contiguous(), values)


def _fractions(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.float()
