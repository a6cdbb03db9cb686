"""Pieces of HTML; every text that goes in is escaped here and shows its control characters."""

import html
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from telemetry.json_values import Json
from telemetry.safe_text import clean

NOTHING = "-"


def escaped(text: str) -> str:
    """A text that cannot become a tag, an attribute or a control character."""
    return html.escape(clean(text), quote=True)


def element(name: str, content: str, kind: str = "") -> str:
    """An element with content that is HTML already; `kind` is its class."""
    attribute = f' class="{escaped(kind)}"' if kind else ""
    return f"<{name}{attribute}>{content}</{name}>"


def joined(*pieces: str) -> str:
    """Pieces that are HTML already, below each other; empty ones leave no trace."""
    return "\n".join(filter(None, pieces))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return element("p", escaped(text), kind)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table; `kind` is `n` for a number, `good`, `bad`, `n bad`, or nothing.

    `links` are places of the page that show what it says, each with the text of its link.
    """

    text: str
    kind: str = ""
    links: tuple[tuple[str, str], ...] = ()

    @property
    def html(self) -> str:
        """What stands in it."""
        links = [link(text, anchor) for text, anchor in self.links]
        return " ".join(filter(None, [escaped(self.text), *links]))


def table(caption: str, headers: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table with a caption; nothing where it has no row. Headers of numbers keep right."""
    lines = [list(row) for row in rows]
    if not lines:
        return ""
    kinds = ["n" if cell.kind.startswith("n") else "" for cell in lines[0]]
    head = "".join(
        f'<th scope="col"{_kind(kind)}>{escaped(text)}</th>'
        for text, kind in zip(headers, kinds, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(element('td', cell.html, cell.kind) for cell in line)}</tr>"
        for line in lines
    )
    content = f"<caption>{escaped(caption)}</caption><thead><tr>{head}</tr></thead>"
    return element("div", f"<table>{content}<tbody>{body}</tbody></table>", "wide")


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names with what they are."""
    content = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in pairs)
    return element("dl", content)


def figure(content: str, caption: str) -> str:
    """A picture that is HTML already, and what is said below."""
    below = element("figcaption", escaped(caption)) if caption else ""
    return element("figure", content + below)


def link(text: str, anchor: str) -> str:
    """A link to a place of the same page."""
    return f'<a href="#{escaped(anchor)}">{escaped(text)}</a>'


def anchored(anchor: str, content: str, kind: str = "") -> str:
    """A place of the page that links lead to; its content is HTML already."""
    return f'<div id="{escaped(anchor)}" class="{escaped(kind)}">{content}</div>'


def image(png: bytes, alt: str) -> str:
    """A PNG within the file itself.

    Args:
        png: Its bytes.
        alt: What it says to those who do not see it.
    """
    return f'<img alt="{escaped(alt)}" src="data:image/png;base64,{b64encode(png).decode()}">'


def number(value: Json) -> str:
    """A number of an answer with four digits; those that are not finite travel as texts."""
    if value is None:
        return NOTHING
    return f"{float(str(value)):.4g}"


def plain(value: Json) -> str:
    """A number with four digits, anything else as it is."""
    if value is None:
        return NOTHING
    return number(value) if isinstance(value, float) else str(value)


def numeric(text: str) -> Cell:
    """A cell of a number."""
    return Cell(text, "n")


def signed(value: Json) -> str:
    """The same, its sign always written."""
    return f"{float(str(value)):+.3g}"


def percent(value: Json) -> str:
    """A share."""
    return NOTHING if value is None else f"{100 * float(str(value)):.1f} %"


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
