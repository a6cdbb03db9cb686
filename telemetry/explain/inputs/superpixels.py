"""Parts of an image that follow its edges; needs scikit-image."""

from importlib import import_module
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS
from telemetry.explain.inputs.masks import Box

FIRST_SCALE = 50.0  # doubled until there are few enough parts
MOST_DOUBLINGS = 16
LEAST_SHARE = 1 / 200  # of the pixels, of a part
MOST = 50  # parts, where the method does not say

Image = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


class _Felzenszwalb(Protocol):
    def __call__(
        self, image: Image, *, scale: float, sigma: float, min_size: int, channel_axis: int
    ) -> Labels: ...


def superpixels(values: Tensor, most: int | None = None) -> tuple[Tensor, tuple[Box, ...]]:
    """Part of each element, of the input's shape, and the smallest box around each part.

    Args:
        values: An image, channels x height x width.
        most: Parts; None: 50.

    Raises:
        UsageError: scikit-image is not installed, or the input is no image.

    Source: Felzenszwalb and Huttenlocher 2004, IJCV 59, as scikit-image has it.
    """
    try:
        method = cast("_Felzenszwalb", import_module("skimage.segmentation").felzenszwalb)
    except ImportError as error:
        raise UsageError(
            "--segments felzenszwalb needs scikit-image: pip install scikit-image; or use grid:6x6."
        ) from error
    if values.dim() != IMAGE_DIMENSIONS:
        raise UsageError(
            f"--segments felzenszwalb: the input has shape {tuple(values.shape)}, expected "
            "channels x height x width."
        )
    return _parts(method, values, most or MOST)


def _parts(method: _Felzenszwalb, values: Tensor, most: int) -> tuple[Tensor, tuple[Box, ...]]:
    image = np.asarray(values.permute(1, 2, 0).double().numpy(), dtype=np.float64)
    low, high = image.min(), image.max()
    image = (image - low) / (high - low) if high > low else np.zeros_like(image)
    least = max(1, round(LEAST_SHARE * image.shape[0] * image.shape[1]))
    scale = FIRST_SCALE
    for _ in range(MOST_DOUBLINGS):
        labels = method(image, scale=scale, sigma=0.5, min_size=least, channel_axis=2)
        if labels.max() < most:
            break
        scale, least = 2 * scale, 2 * least
    _, numbered = np.unique(labels, return_inverse=True)
    flat = torch.from_numpy(numbered.reshape(labels.shape).astype(np.int64))
    boxes = tuple(_box(flat == number) for number in range(int(flat.max()) + 1))
    return flat.expand(values.shape).contiguous(), boxes


def _box(mask: Tensor) -> Box:
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
