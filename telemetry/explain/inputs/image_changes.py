"""Changes of an image that a camera could have made: pure functions on values from 0 to 1.

Each takes an image of shape (channels, height, width) and an amount, and gives one of the same
shape; what leaves the range is left to the caller to clip.
"""

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from telemetry.explain.inputs.hue import from_hsv, to_hsv

BLUR_REACH = 3  # standard deviations


def brightened(image: Tensor, amount: float) -> Tensor:
    """Brighter by an amount."""
    return image + amount


def contrasted(image: Tensor, factor: float) -> Tensor:
    """Distances from the mean times a factor."""
    mean = image.mean()
    return mean + (image - mean) * factor


def gamma_corrected(image: Tensor, exponent: float) -> Tensor:
    """Values to a power."""
    return image.clamp_min(0) ** exponent


def hue_rotated(image: Tensor, degrees: float) -> Tensor:
    """Colours turned on the circle of hues, brightness and saturation as before."""
    hue, saturation, value = to_hsv(image)
    return from_hsv((hue + degrees / 360) % 1, saturation, value)


def saturated(image: Tensor, factor: float) -> Tensor:
    """Saturation times a factor; 0 is grey."""
    hue, saturation, value = to_hsv(image)
    return from_hsv(hue, (saturation * factor).clamp(0, 1), value)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Smoothed by a Gaussian of so many pixels, edges continued."""
    reach = max(1, math.ceil(BLUR_REACH * sigma))
    places = torch.arange(-reach, reach + 1, dtype=image.dtype)
    weights = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = (weights / weights.sum()).repeat(len(image), 1, 1, 1)  # one a channel
    padded = functional.pad(image[None], [reach] * 4, mode="replicate")
    rows = functional.conv2d(padded, kernel.transpose(2, 3), groups=len(image))
    return functional.conv2d(rows, kernel, groups=len(image))[0]


def noisy(image: Tensor, deviation: float, seed: int) -> Tensor:
    """Gaussian noise added; one seed gives one field at every strength."""
    generator = torch.Generator().manual_seed(seed)
    return image + deviation * torch.randn(image.shape, generator=generator, dtype=image.dtype)


def rotated(image: Tensor, degrees: float) -> Tensor:
    """Turned counterclockwise about its centre, edges continued."""
    angle = math.radians(degrees)
    aspect = image.shape[2] / image.shape[1]
    cosine, sine = math.cos(angle), math.sin(angle)
    return _warped(image, [[cosine, -sine / aspect, 0.0], [sine * aspect, cosine, 0.0]])


def shifted(image: Tensor, share: float) -> Tensor:
    """Moved to the right by a share of its width, edges continued."""
    return _warped(image, [[1.0, 0.0, -2 * share], [0.0, 1.0, 0.0]])


def scaled(image: Tensor, factor: float) -> Tensor:
    """Enlarged about its centre, edges continued."""
    return _warped(image, [[1 / factor, 0.0, 0.0], [0.0, 1 / factor, 0.0]])


def cropped(image: Tensor, share: float) -> Tensor:
    """A share of its height and width cut off around, the rest enlarged to the old size."""
    return scaled(image, 1 / (1 - share))


def compressed(image: Tensor, quality: float) -> Tensor:
    """Through a JPEG file of a quality from 1 to 100."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=round(quality))
    with Image.open(stream) as opened:
        read = torch.from_numpy(np.array(opened)).to(image.dtype) / 255
    return read[None] if read.dim() == 2 else read.permute(2, 0, 1)  # noqa: PLR2004 - grey


def _warped(image: Tensor, matrix: list[list[float]]) -> Tensor:
    theta = torch.tensor([matrix], dtype=image.dtype)
    grid = functional.affine_grid(theta, [1, *image.shape], align_corners=False)
    return functional.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0]
