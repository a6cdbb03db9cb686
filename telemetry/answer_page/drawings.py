"""What is drawn of an answer beside its sentence, checks and costs; found by its kind."""

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from telemetry.answer_page import kinds
from telemetry.answer_page.html import Cell, numeric, plain, table
from telemetry.answer_page.reading import Answer, listed, mappings
from telemetry.json_values import Json

ELSEWHERE = frozenset({"checks", "texts"})  # lists of objects that every page draws


def _no_summary(answers: Sequence[Answer]) -> str:
    del answers
    return ""


Gallery = Callable[[Answer, Callable[[str], bytes | None]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What the page of one kind of answer draws.

    Attributes:
        drawn: Curves and tables of one answer.
        summary: What stands above all of several.
        gallery: Pictures of one answer among its words; None: they stand above its curves.
    """

    drawn: Callable[[Answer], str]
    summary: Callable[[Sequence[Answer]], str] = _no_summary
    gallery: Gallery | None = None


@cache
def drawing(kind: str) -> Drawing:
    """That of `kinds/<kind>.py`; a kind without a file has a table of every list it answers."""
    if kind not in {module.name for module in pkgutil.iter_modules(kinds.__path__)}:
        return Drawing(drawn=every_list)
    module = import_module(f"{kinds.__name__}.{kind}")
    return Drawing(
        drawn=module.drawn,
        summary=getattr(module, "summary", _no_summary),
        gallery=getattr(module, "gallery", None),
    )


def every_list(answer: Answer) -> str:
    """A table of each list of objects, in those columns that hold plain values."""
    return "".join(
        _listed(name, mappings(value)) for name, value in answer.items() if name not in ELSEWHERE
    )


def _listed(name: str, entries: Sequence[Answer]) -> str:
    if not entries:
        return ""
    columns = [column for column, value in entries[0].items() if not listed(value)]
    rows = [[_cell(entry.get(column)) for column in columns] for entry in entries]
    return table(_words(name), [_words(column) for column in columns], rows)


def _cell(value: Json) -> Cell:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric(plain(value)) if is_number else Cell(plain(value))


def _words(name: str) -> str:
    return name.replace("_", " ")
