"""The frame of every drawing: labels in HTML around an SVG that is stretched to the room there is.

An SVG with its labels inside would shrink them with itself: on a telephone nobody could read them.
Here only shapes are stretched, lines keep their width, and letters keep their size.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from telemetry.answer_page.html import element, escaped
from telemetry.json_values import Json

SIZE = 1000  # of the box that is stretched


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A text beside the box; `place` is between 0 and 1, from the left or from above."""

    place: float
    text: str
    target: str = ""  # id of the part of the page that it leads to


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A drawing.

    Attributes:
        title: What is shown, with its unit.
        described: The same in words, for those who do not see it.
        shapes: SVG in a box of 1000 by 1000.
        left: Labels of the vertical axis, or names of rows.
        below: Labels of the horizontal axis.
        below_name: What that axis is, with its unit.
        height_rem: Of the box, in letters.
        kind: What its script knows how to read: lines, rows, or nothing.
        data: For the script.
        key: HTML of the key; '' for none.
        note: What is said below.
        has_names: Whether the labels on the left are names, which take more room.
    """

    title: str
    described: str
    shapes: Sequence[str]
    left: Sequence[Label] = ()
    below: Sequence[Label] = ()
    below_name: str = ""
    height_rem: float = 15
    kind: str = ""
    data: Mapping[str, Json] = field(default_factory=dict)
    key: str = ""
    note: str = ""
    has_names: bool = False


def framed(frame: Frame) -> str:
    """A drawing as HTML."""
    svg = (
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escaped(f"{frame.title}. {frame.described}")}">{"".join(frame.shapes)}</svg>'
    )
    data = escaped(json.dumps(frame.data)) if frame.kind else ""
    script = f' data-kind="{frame.kind}" data-of="{data}"' if frame.kind else ""
    parts = [
        element("h3", escaped(frame.title)),
        frame.key,
        f'<div class="frame{" names" if frame.has_names else ""}">',
        element("div", "".join(map(_beside, frame.left)), "left"),
        f'<div class="box" style="height:{frame.height_rem:g}rem"{script}>{svg}</div>',
        element("div", "".join(map(_under, frame.below)), "below") if frame.below else "",
        element("div", escaped(frame.below_name), "below-name") if frame.below_name else "",
        "</div>",
        element("figcaption", escaped(frame.note)) if frame.note else "",
    ]
    return element("figure", "".join(parts), "plot")


def _beside(label: Label) -> str:
    text = escaped(label.text)
    if label.target:
        text = f'<a href="#{escaped(label.target)}">{text}</a>'
    style = f"top:{percent(label.place)}"
    return f'<span style="{style}" title="{escaped(label.text)}">{text}</span>'


def _under(label: Label) -> str:
    return f'<span style="left:{percent(label.place)}">{escaped(label.text)}</span>'


def percent(share: float) -> str:
    """`12.5%`, as CSS wants it."""
    return f"{100 * share:.2f}%"


def at(share: float) -> str:
    """A share as a coordinate of the box."""
    return f"{SIZE * share:.2f}".rstrip("0").rstrip(".")
