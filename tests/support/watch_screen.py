"""The text of a full screen, from the picture that Textual exports of it."""

import xml.etree.ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"


def screen_text(svg: str) -> str:
    """The lines of a screen; `svg` is what `App.export_screenshot` gives."""
    pieces: dict[float, list[tuple[float, str]]] = {}
    for element in ET.fromstring(svg).iter(f"{SVG}text"):  # noqa: S314 - made by this process
        if "clip-path" in element.attrib:  # the others are the window's title
            line = pieces.setdefault(float(element.attrib["y"]), [])
            line.append((float(element.attrib["x"]), (element.text or "").replace("\xa0", " ")))
    return "\n".join(_line(pieces[y]) for y in sorted(pieces))


def _line(pieces: list[tuple[float, str]]) -> str:
    text = ""
    for x, piece in sorted(pieces):
        text += " " * (round(x / CELL_WIDTH) - len(text)) + piece
    return text.rstrip()


CELL_WIDTH = 12.2  # of Rich's export: 20 pixels high, 0.61 as wide
