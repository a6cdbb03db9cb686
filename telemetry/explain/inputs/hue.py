"""Colours as hue, saturation and value, and back."""

import torch
from torch import Tensor

RGB = 3  # channels
SEXTANTS = 6  # of the hue circle


def to_hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue from 0 to 1, saturation and value of red, green and blue; height x width each.

    Source: Smith, Color gamut transform pairs, SIGGRAPH 1978.
    """
    red, green, blue = image
    value, which = image.max(0)
    spread = value - image.min(0).values
    safe = spread.clamp_min(1e-12)
    sectors = torch.stack(
        [(green - blue) / safe % SEXTANTS, (blue - red) / safe + 2, (red - green) / safe + 4]
    )
    hue = sectors.gather(0, which[None])[0] / SEXTANTS
    return torch.where(spread > 0, hue, 0.0), spread / value.clamp_min(1e-12), value


def from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Red, green and blue, shape (3, height, width)."""
    offsets = torch.tensor([5.0, 3.0, 1.0], dtype=value.dtype)[:, None, None]
    k = (offsets + hue * SEXTANTS) % SEXTANTS
    return value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1)
