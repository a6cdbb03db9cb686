"""Of `telemetry explain RUN`: a part of the page for each question, wrong answers with pictures."""

from collections.abc import Callable, Sequence

from telemetry.answer_page.curves import Chart, Curve, in_svg
from telemetry.answer_page.html import (
    Cell,
    anchored,
    element,
    escaped,
    figure,
    image,
    joined,
    numeric,
    paragraph,
    percent,
    table,
)
from telemetry.answer_page.reading import Answer, listed, mapping, mappings, real

SHARE = (0.0, 1.0)
SHORT = 8  # characters of an id


def drawn(answer: Answer) -> str:
    """What the other questions found, each under its heading."""
    return joined(
        _part("What leads its wrong answers?", _leaders(answer)),
        _part("Which groups are worst?", _groups(answer)),
        _part("What does it take for what?", _confusions(answer)),
        _part("Is it as right as it is sure?", _calibration(mapping(answer.get("calibration")))),
        _part("What does training lack?", _gaps(answer)),
    )


def gallery(answer: Answer, picture: Callable[[str], bytes | None]) -> str:
    """Every wrong answer that was asked about, with the picture that its run keeps."""
    shown = [
        _wrong_answer(number, one, picture)
        for number, one in enumerate(mappings(answer.get("wrong_answers")), start=1)
    ]
    return _part(
        "Some of its wrong answers", element("div", "".join(shown), "gallery") if shown else ""
    )


def _part(title: str, content: str) -> str:
    return joined(element("h2", escaped(title)), content) if content else ""


def _wrong_answer(number: int, one: Answer, picture: Callable[[str], bytes | None]) -> str:
    identity, said = str(one["id"]), str(one["answer"])
    name = one.get("picture")
    png = picture(name) if isinstance(name, str) else None
    drawing = "" if png is None else image(png, said)
    more = f"{number}: {said} More: telemetry explain show {identity[:SHORT]}"
    return anchored(identity, figure(drawing, more))


def _leaders(answer: Answer) -> str:
    order = [str(one["id"]) for one in mappings(answer.get("wrong_answers"))]
    places = {identity: str(number) for number, identity in enumerate(order, start=1)}
    rows = [
        (
            Cell(str(one["part"])),
            numeric(f"{one['n']} of {len(order)}"),
            Cell("", links=tuple((places[identity], identity) for identity in _ids(one))),
        )
        for one in mappings(answer.get("leaders"))
    ]
    return table("Strongest part of each wrong answer", ("part", "leads in", "see"), rows)


def _ids(one: Answer) -> tuple[str, ...]:
    return tuple(map(str, listed(one.get("ids"))))


def _groups(answer: Answer) -> str:
    rows = [
        (
            Cell(str(one["group"])),
            numeric(str(one["n"])),
            Cell(percent(one["value"]), "n bad"),
            numeric(percent(one["rest"])),
        )
        for one in mappings(answer.get("groups"))
    ]
    headers = ("group", "examples", "wrong", "wrong among the rest")
    return table("More: telemetry slices RUN", headers, rows)


def _confusions(answer: Answer) -> str:
    rows = [
        (
            Cell(str(one["label"])),
            Cell(str(one["prediction"])),
            numeric(str(one["n"])),
            numeric(percent(one["share"])),
        )
        for one in mappings(answer.get("confusions"))
    ]
    return table("The most frequent", ("label", "answer", "times", "of the label"), rows)


def _calibration(found: Answer) -> str:
    if not found:
        return ""
    bins: Sequence[Answer] = mappings(found.get("bins"))
    points = [(real(one["confidence"]), real(one["accuracy"])) for one in bins]
    sentence = str(found.get("sentence"))
    curves = [
        Curve(name="the model", points=points),
        Curve(name="as right as sure", points=[(0.0, 0.0), (1.0, 1.0)], has_dots=False),
    ]
    chart = Chart(
        title="How often answers are right, by how sure the model is",
        description=sentence,
        x_label="confidence",
        y_label="share of right answers",
        curves=curves,
        y_range=SHARE,
    )
    counts = ", ".join(f"{100 * real(one['confidence']):.0f} %: {one['n']}" for one in bins)
    svg = in_svg(chart, "calibration")
    return joined(paragraph(sentence), figure(svg, f"examples by confidence: {counts}"))


def _gaps(answer: Answer) -> str:
    gaps = mappings(answer.get("gaps"))
    said = [str(text) for gap in gaps for text in listed(gap.get("lacks")) or [gap["answer"]]]
    unknown = "Not compared with the training data: telemetry explain coverage RUN --train NAME"
    return joined(*(paragraph(text) for text in said or [unknown]))
