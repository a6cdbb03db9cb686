"""Pictures: panels side by side, or a sheet of rows of tiles, with a caption; PNG by Pillow."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from telemetry.explain.inputs.hue import RGB
from telemetry.explain.pictures.colours import ends
from telemetry.explain.pictures.lettering import LINE, folded, shortened, write

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

PANEL = 256  # pixels of a side, about
GAP = 12
TILE, TILE_GAP = 64, 6
LEAST_WIDTH = 420  # of a page, that its caption is no column of single words
RGBA = 4  # channels
UNIT = (0.0, 1.0)  # ends of values before normalisation, see `UnitScale`
WHITE, LIFT = 255, 96
OUTLINE = 2  # pixels of a line
GREY_SHARE = 0.4  # of the input under a map
PAPER, EMPTY_TILE = (255, 255, 255), (224, 224, 224)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Tiles side by side.

    Attributes:
        tiles: Height x width x 3 each.
        label: What is written above all of them.
        names: What is written above each; empty: nothing.
    """

    tiles: tuple[Bytes, ...]
    label: str = ""
    names: tuple[str, ...] = ()


def page_png(panels: Sequence[Bytes], caption: str, identity: str) -> bytes:
    """Panels side by side, enlarged by a whole factor, with a caption; a PNG.

    Args:
        panels: Images of one size, height x width x 3.
        caption: What is written below.
        identity: Kept in the file, so that it finds its row.
    """
    return sheet_png([Row(tiles=tuple(panels))], caption, identity, side=PANEL, gap=GAP)


def sheet_png(
    rows: Sequence[Row], caption: str, identity: str, *, side: int = TILE, gap: int = TILE_GAP
) -> bytes:
    """Rows of tiles, each enlarged by a whole factor, with labels and a caption; a PNG.

    Args:
        rows: From top to bottom.
        caption: What is written below.
        identity: Kept in the file, so that it finds its row.
        side: Pixels of a tile's longer side, about, see `fitted`.
        gap: Pixels between tiles.
    """
    shown = [[Image.fromarray(fitted(tile, side)) for tile in row.tiles] for row in rows]
    wide = max(sum(tile.width + gap for tile in tiles) for tiles in shown)
    width = max(LEAST_WIDTH, wide + gap)
    texts = [folded(text, width - 2 * gap) for text in (*(r.label for r in rows), caption)]
    heights = [
        max((tile.height + gap for tile in tiles), default=0) + (LINE if row.names else 0)
        for row, tiles in zip(rows, shown, strict=True)
    ]
    total = sum(heights) + LINE * sum(map(len, texts)) + 2 * gap
    page = Image.new("RGB", (width, total), PAPER)
    pen = ImageDraw.Draw(page)
    top = gap
    for row, tiles, lines, height in zip(rows, shown, texts[:-1], heights, strict=True):
        write(pen, (gap, top), lines)
        left, top = gap, top + LINE * len(lines)
        for place, tile in enumerate(tiles):
            if row.names:
                write(pen, (left, top), [shortened(row.names[place], tile.width)])
            page.paste(tile, (left, top + (LINE if row.names else 0)))
            left += tile.width + gap
        top += height
    write(pen, (gap, top), texts[-1])
    return png(page, identity)


def png(page: Image.Image, identity: str) -> bytes:
    """A picture as PNG that names its row."""
    info = PngInfo()
    info.add_text("telemetry", identity)
    stream = io.BytesIO()
    page.save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def fitted(tile: Bytes, side: int) -> Bytes:
    """A picture whose longer side takes about so many pixels, by a whole factor.

    Pixels of a small one become squares; those of one more than twice as long are averaged.
    """
    longest = max(tile.shape[:2])
    if longest > 2 * side:
        return np.asarray(Image.fromarray(tile).reduce(-(-longest // (2 * side))), dtype=np.uint8)
    factor = max(1, side // longest)
    return tile.repeat(factor, axis=0).repeat(factor, axis=1)


def labelled_tile(text: str, side: int = TILE) -> Bytes:
    """An empty tile that says why it is empty."""
    tile = Image.new("RGB", (side, side), EMPTY_TILE)
    write(ImageDraw.Draw(tile), (4, side // 2 - 8), [shortened(text, side - 4)])
    return np.asarray(tile, dtype=np.uint8)


def picture_of_input(image: Tensor, span: tuple[float, float] | None = None) -> Bytes:
    """An input as it looks, height x width x 3.

    Three channels are colours, and the first three of four; any other number is shown as grey.

    Args:
        image: Channels x height x width.
        span: Values that are black and white; None: the least and the largest that there are.
    """
    values = image.detach().double().cpu()
    colours = values[:RGB] if len(values) in {RGB, RGBA} else values.mean(0, keepdim=True)
    low, high = span or (float(colours.min()), float(colours.max()))
    unit = ((colours - low) / (high - low)).clamp(0, 1) if high > low else colours * 0
    shown = (unit.expand(RGB, -1, -1) * 255).round().permute(1, 2, 0)
    return np.asarray(shown.numpy(), dtype=np.uint8)


def grey_picture(image: Tensor) -> Bytes:
    """The mean over the channels, between its least and largest value; height x width x 3."""
    return picture_of_input(image.mean(0, keepdim=True))


def map_of(values: Tensor) -> Floats:
    """Contribution of each pixel: the sum over channels, height x width."""
    return np.asarray(values.double().sum(0).numpy(), dtype=np.float64)


def over_grey(image: Tensor, colours: Bytes) -> Bytes:
    """Colours over the grey input, height x width x 3."""
    mixed = GREY_SHARE * grey_picture(image) + (1 - GREY_SHARE) * colours
    return mixed.astype(np.uint8)


def marked(image: Tensor, region: Mask, least: Mask | None = None) -> Bytes:
    """A grey image with a region in orange and its most important part in blue.

    Args:
        image: Channels x height x width.
        region: Height x width.
        least: The same; None: it is not shown.
    """
    shown = grey_picture(image)
    against, _, speaks_for = ends()
    lifted = LIFT + (1 - LIFT / WHITE) * shown  # a colour over black would be as good as black
    for mask, colour in ((region, against), (least, speaks_for)):
        if mask is not None:
            mixed = GREY_SHARE * lifted + (1 - GREY_SHARE) * colour
            shown = np.where(mask[..., None], mixed, shown).astype(np.uint8)
    return shown


def outlined(picture: Bytes, mask: Mask) -> Bytes:
    """A picture with blue lines around a mask of the image that it shows in its own size.

    Args:
        picture: Height x width x 3.
        mask: Which pixels of the image, of any size.
    """
    size = (picture.shape[1], picture.shape[0])
    inside = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    core = np.pad(inside, OUTLINE)
    for axis in (0, 1):
        for shift in range(-OUTLINE, OUTLINE + 1):
            core &= np.roll(np.pad(inside, OUTLINE), shift, axis)
    edge = inside & ~core[OUTLINE:-OUTLINE, OUTLINE:-OUTLINE]
    return np.where(edge[..., None], ends()[2], picture).astype(np.uint8)
