"""How reductions are drawn: cells of images, tokens before and after."""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.pictures.characters import mask_lines
from telemetry.explain.pictures.colours import RGB, ends_rgb, hexadecimal
from telemetry.explain.pictures.draw import (
    PANEL,
    UNIT,
    fitted,
    marked,
    outlined,
    page_png,
    picture_of_input,
)
from telemetry.explain.pictures.part_pictures import Word, WordLine, text_png
from telemetry.explain.pictures.thumbnails import thinned
from telemetry.explain.reduction.ddmin import Items
from telemetry.explain.reduction.differences import Cells, Differences
from telemetry.explain.reduction.result import Reduction
from telemetry.explain.reduction.token_edits import TokenEdits, Told
from telemetry.json_values import Json

Mask = npt.NDArray[np.bool_]


def picture(found: Reduction) -> bytes | None:
    """Both images and what is marked in the wrong one, or both texts; None for a row."""
    if isinstance(found.differences, TokenEdits):
        return text_png(texts(found), legend(found), found.id)
    if not isinstance(found.differences, Cells):
        return None
    assert found.origin.examples is not None  # noqa: S101 - `reduce` has seen to it
    scale = UnitScale.of(found.origin.examples)
    other = found.differences.right
    if not found.twin.is_real:  # what the wrong one becomes
        other = found.differences.mixed(least_of(found))
    wrong, right = (
        fitted(picture_of_input(scale.unit(image), UNIT), PANEL)
        for image in (found.differences.wrong, other)
    )
    region, least = (_mask_of(found, items) for items in (found.region, least_of(found)))
    shown = outlined(fitted(marked(found.differences.wrong, region), PANEL), least)
    names = f"wrong: {found.prediction}; right: {found.label}"
    caption = f"{names}; orange: where the cause is; blue line: {_change(found)}"
    return page_png([wrong, right, shown], caption, found.id)


def legend(found: Reduction) -> str:
    """What colours and characters mean; empty for a row."""
    if isinstance(found.differences, TokenEdits):
        return f"orange (-): removed, blue (+): inserted, by {_change(found)}"
    if not isinstance(found.differences, Cells):
        return ""
    return f"orange (o): where the cause is; blue (#): {_change(found)}"


def _change(found: Reduction) -> str:
    return (
        f"the smallest change that {'corrects' if found.repair is not None else 'breaks'} the "
        "answer"
    )


def grid(found: Reduction) -> Json:
    """Colours for a terminal; None for no image."""
    if not isinstance(found.differences, Cells):
        return None
    region, least = (_mask_of(found, items) for items in (found.region, least_of(found)))
    return hexadecimal(thinned(marked(found.differences.wrong, region, least)))


def marks(found: Reduction) -> list[Json]:
    """The same in characters."""
    if not isinstance(found.differences, Cells):
        return []
    return mask_lines(
        [("o", _mask_of(found, found.region)), ("#", _mask_of(found, least_of(found)))]
    )


def texts(found: Reduction) -> list[WordLine]:
    """The wrong text and the mended one, with what is changed; none for no text."""
    if not isinstance(found.differences, TokenEdits):
        return []
    against, neutral, speaks_for = ends_rgb()
    before, after = found.differences.told(least_of(found))
    names = ("wrong", "corrected") if found.repair is not None else ("wrong", "broken")
    return [
        WordLine(name=names[0], words=_words(before, "-", against, neutral)),
        WordLine(name=names[1], words=_words(after, "+", speaks_for, neutral)),
    ]


def least_of(found: Reduction) -> Items:
    """The least set that mends the wrong input; else the one that spoils the right one."""
    least = found.repair or found.breaking
    return least.items if least is not None else ()


def mask(differences: Differences, items: Collection[int]) -> Mask:
    """Where cells of an image lie."""
    assert isinstance(differences, Cells)  # noqa: S101 - tells the type checker
    return np.asarray(differences.mask(items).numpy(), dtype=np.bool_)


def _mask_of(found: Reduction, items: Collection[int]) -> Mask:
    return mask(found.differences, items)


def _words(tokens: list[Told], mark: str, changed: RGB, same: RGB) -> tuple[Word, ...]:
    return tuple(
        Word(
            text=text,
            mark=mark if is_changed else "",
            value=None,
            colour=changed if is_changed else same,
            place=str(place),
        )
        for place, (text, is_changed) in enumerate(tokens)
    )
