"""One section an answer: the sentence, what failed, pictures, curves, tables, checks, and costs."""

import re
from collections.abc import Callable, Mapping, Sequence

from telemetry.answer_page.drawings import drawing
from telemetry.answer_page.html import (
    Cell,
    element,
    escaped,
    facts,
    figure,
    image,
    joined,
    number,
    paragraph,
    table,
)
from telemetry.answer_page.reading import Answer, images, listed, mapping, mappings
from telemetry.json_values import Json

COLOUR = re.compile(r"#[0-9a-f]{6}")

# What stands in the table of facts where an answer has it: plain values only.
FACTS = {
    "example_id": "example",
    "wrong_id": "wrong example",
    "right_id": "right example",
    "label": "label",
    "prediction": "answer of the model",
    "method": "method",
    "library": "computed by",
    "baselines": "compared with",
    "axis": "axis",
    "metric": "metric",
    "folds": "folds",
    "layer": "layer",
    "unit": "unit",
    "train": "training examples",
    "test": "test examples",
    "accuracy": "accuracy",
    "dataset": "data set",
    "checkpoint": "checkpoint",
    "step": "step",
    "seed": "seed",
    "calls": "mixtures tried",
    "forwards": "forward passes",
    "seconds": "seconds",
}


def section(kind: str, answer: Answer, picture: Callable[[str], bytes | None]) -> str:
    """One answer.

    Args:
        kind: Which kind it is.
        answer: As JSON has it.
        picture: The PNG of a name.
    """
    sentence, drawn = str(answer.get("answer", "")), drawing(kind)
    content = [
        paragraph(sentence, "answer"),
        *(
            paragraph(f"FAILED {check.get('name')}: {check.get('meaning')}", "failed")
            for check in mappings(answer.get("checks"))
            if check.get("ok") is not True
        ),
        *(
            paragraph(f"note: {said}", "note")
            for name in ("warnings", "notes")
            for said in listed(answer.get(name))
        ),
        _texts(answer),
        *(_pictures(answer, sentence, picture) if drawn.gallery is None else ()),
        drawn.drawn(answer),
        drawn.gallery(answer, picture) if drawn.gallery is not None else "",
        _checks(answer),
        _facts(answer),
    ]
    return element("section", joined(*content))


def _pictures(
    answer: Answer, sentence: str, picture: Callable[[str], bytes | None]
) -> Sequence[str]:
    if mappings(answer.get("texts")):
        return []  # their words stand on the page, in letters that a picture may lack
    drawn = [png for name in dict.fromkeys(images(answer)) if (png := picture(name)) is not None]
    legend = str(answer.get("legend") or "")
    return [figure(image(png, sentence), legend) for png in drawn]


def _texts(answer: Answer) -> str:
    """The tokens of each text on their colours, their marks below."""
    texts = mappings(answer.get("texts"))
    if not texts:
        return ""
    lines = [
        element("p", escaped(str(text.get("name") or "")) + " " + _words(text), "tokens")
        for text in texts
    ]
    return figure("".join(lines), str(answer.get("legend") or ""))


def _words(text: Answer) -> str:
    return " ".join(
        f'<span class="token"><b{_painted(token)}>{escaped(str(token["text"])) or "&nbsp;"}</b>'
        f"<small>{escaped(str(token['mark'])) or '&nbsp;'}</small></span>"
        for token in mappings(text.get("tokens"))
    )


def _painted(token: Answer) -> str:
    colours = [str(token.get(name)) for name in ("colour", "ink")]
    if not all(map(COLOUR.fullmatch, colours)):
        return ""
    return f' style="background:{colours[0]};color:{colours[1]}"'


def _checks(answer: Answer) -> str:
    rows = [
        (
            Cell(str(check.get("name"))),
            Cell(number(check.get("value")), "n"),
            Cell(number(check.get("threshold")), "n"),
            Cell("passed", "good") if check.get("ok") is True else Cell("FAILED", "bad"),
        )
        for check in mappings(answer.get("checks"))
    ]
    return table("Checks", ("check", "value", "limit", "result"), rows)


def _facts(answer: Answer) -> str:
    known = [
        (said, _said(answer[name]))
        for name, said in FACTS.items()
        if answer.get(name) is not None and not isinstance(answer[name], Mapping)
    ]
    more = mapping(answer.get("facts")).items()
    return facts([*known, *((name, _said(value)) for name, value in more)])


def _said(value: Json) -> str:
    if isinstance(value, float):
        return number(value)
    return ", ".join(map(str, listed(value))) if isinstance(value, list | tuple) else str(value)
