"""Pictures of attributions: the input, the map over it, and the bare map, with a caption."""

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from telemetry.explain.colours import ends, signed_colours, signed_scale

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

PANEL = 256  # pixels of a side, about
GAP = 12
CAPTION_HEIGHT = 18
GREY_SHARE = 0.4  # of the input under the map
BACKGROUND = 255
RGB = 3  # channels


def attribution_png(flat: Floats, image: Tensor, caption: str, identity: str) -> bytes:
    """Three panels side by side as PNG: input, map over the input, map.

    Args:
        flat: Value of each pixel, height x width; positive is blue.
        image: The input, channels x height x width.
        caption: What is written below.
        identity: Kept in the file, so that it finds its row.
    """
    grey = grey_of(image)
    colours = signed_colours(flat, signed_scale(flat))
    grey_rgb = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    mixed = (GREY_SHARE * grey_rgb + (1 - GREY_SHARE) * colours).astype(np.uint8)
    return page_png([grey_rgb, mixed, colours], caption, identity)


def map_of(values: Tensor) -> Floats:
    """Contribution of each pixel: the sum over channels, height x width."""
    return np.asarray(values.double().sum(0).numpy(), dtype=np.float64)


def grey_of(image: Tensor) -> Floats:
    """Brightness of an image between its least and largest value, 0 to 1."""
    mean = np.asarray(image.double().mean(0).numpy(), dtype=np.float64)
    low, high = float(mean.min()), float(mean.max())
    return (mean - low) / (high - low) if high > low else np.zeros_like(mean)


def page_png(panels: Sequence[Bytes], caption: str, identity: str) -> bytes:
    """Panels side by side, enlarged by a whole factor, with a caption; a PNG.

    Args:
        panels: Images of one size, height x width x 3.
        caption: What is written below.
        identity: Kept in the file, so that it finds its row.
    """
    height, width = panels[0].shape[:2]
    factor = max(1, PANEL // max(height, width))
    tiles = [Image.fromarray(p).resize((width * factor, height * factor), 0) for p in panels]
    total = len(tiles) * tiles[0].width + (len(tiles) + 1) * GAP
    page = Image.new("RGB", (total, tiles[0].height + 2 * GAP + CAPTION_HEIGHT), (BACKGROUND,) * 3)
    for place, tile in enumerate(tiles):
        page.paste(tile, (GAP + place * (tile.width + GAP), GAP))
    ImageDraw.Draw(page).text((GAP, tiles[0].height + GAP + 4), _ascii(caption), fill=(0, 0, 0))
    info = PngInfo()
    info.add_text("telemetry", identity)
    stream = io.BytesIO()
    page.save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def _ascii(text: str) -> str:
    """What Pillow's own font can draw."""
    return text.encode("ascii", "replace").decode("ascii")


def rgb_of(image: Tensor) -> Bytes:
    """An image between its least and largest value, height x width x 3; what is not RGB is grey."""
    if image.shape[0] != RGB:
        return np.repeat((grey_of(image) * 255).astype(np.uint8)[..., None], RGB, axis=2)
    values = np.asarray(image.double().permute(1, 2, 0).numpy(), dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return (scaled * 255).astype(np.uint8)


def marked(image: Tensor, region: Mask, least: Mask) -> Bytes:
    """A grey image with a region in orange and its most important part in blue.

    Args:
        image: Channels x height x width.
        region: Height x width.
        least: The same.
    """
    grey = np.repeat((grey_of(image) * 255)[..., None], RGB, axis=2)
    against, _, speaks_for = ends()
    for mask, colour in ((region, against), (least, speaks_for)):
        mixed = GREY_SHARE * grey + (1 - GREY_SHARE) * colour
        grey = np.where(mask[..., None], mixed, grey)
    return grey.astype(np.uint8)
