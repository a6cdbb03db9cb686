"""Pictures: panels side by side, or a sheet of rows of tiles, with a caption; PNG by Pillow."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from telemetry.explain.colours import ends, signed_colours, signed_scale

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

PANEL = 256  # pixels of a side, about
GAP = 12
TILE, TILE_GAP = 64, 6
LINE = 18  # height of a line of text
INK, EMPTY_TILE = (0, 0, 0), (224, 224, 224)
RGB = 3
FONT = ImageFont.load_default_imagefont()
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
    return sheet_png([Row(tiles=tuple(panels))], caption, identity, side=PANEL, gap=GAP)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Tiles side by side, height x width x 3 each, and what is written above them."""

    tiles: tuple[Bytes, ...]
    label: str = ""


def sheet_png(
    rows: Sequence[Row], caption: str, identity: str, *, side: int = TILE, gap: int = TILE_GAP
) -> bytes:
    """Rows of tiles, each enlarged by a whole factor, with labels and a caption; a PNG.

    Args:
        rows: From top to bottom.
        caption: What is written below.
        identity: Kept in the file, so that it finds its row.
        side: Pixels of a tile's longer side, about; larger tiles stay as they are.
        gap: Pixels between tiles.
    """
    shown = [(row.label, [_enlarged(tile, side) for tile in row.tiles]) for row in rows]
    heights = [
        max((tile.height for tile in tiles), default=0) + gap + (LINE if label else 0)
        for label, tiles in shown
    ]
    texts = [_ascii(caption), *(_ascii(label) for label, _ in shown)]
    width = max(sum(tile.width + gap for tile in tiles) for _, tiles in shown)
    width = max(width, *(round(FONT.getlength(text)) + gap for text in texts)) + gap
    page = Image.new("RGB", (width, sum(heights) + gap + LINE), (BACKGROUND,) * 3)
    pen = ImageDraw.Draw(page)
    top = gap
    for (label, tiles), height in zip(shown, heights, strict=True):
        if label:
            pen.text((gap, top), _ascii(label), fill=INK, font=FONT)
        left = gap
        for tile in tiles:
            page.paste(tile, (left, top + (LINE if label else 0)))
            left += tile.width + gap
        top += height
    pen.text((gap, top), texts[0], fill=INK, font=FONT)
    info = PngInfo()
    info.add_text("telemetry", identity)
    stream = io.BytesIO()
    page.save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def labelled_tile(text: str, side: int = TILE) -> Bytes:
    """An empty tile that says why it is empty."""
    tile = Image.new("RGB", (side, side), EMPTY_TILE)
    ImageDraw.Draw(tile).text((4, side // 2 - 6), _ascii(text), fill=INK, font=FONT)
    return np.asarray(tile, dtype=np.uint8)


def picture_of_input(image: Tensor) -> Bytes:
    """An input as it looks, between its least and largest value; height x width x 3."""
    values = image.detach().double().cpu()[:3]
    low, high = float(values.min()), float(values.max())
    unit = (values - low) / (high - low) if high > low else torch.zeros_like(values)
    rgb = unit if len(unit) == RGB else unit[:1].expand(RGB, -1, -1)
    return np.asarray((rgb * 255).round().permute(1, 2, 0).numpy(), dtype=np.uint8)


def _enlarged(tile: Bytes, side: int) -> Image.Image:
    height, width = tile.shape[:2]
    factor = max(1, side // max(height, width))
    return Image.fromarray(tile).resize((width * factor, height * factor), 0)


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
