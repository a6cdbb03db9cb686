"""Of `explain coverage`: what the test examples have that training lacks."""

import math

from telemetry.answer_page.curves import Chart, Curve, extremes, in_svg
from telemetry.answer_page.html import Cell, figure, joined, number, numeric, percent, table
from telemetry.answer_page.reading import Answer, listed, mapping, mappings, real

OF_DATA = {"twin", "conflict", "doubt", "leak"}  # kinds that are no gap of training
SHORTCUT = "shortcut"  # kind of what says a class in training alone
ENDS_OF_TRAINING = {"train_low": "least usual of training", "train_high": "most usual"}


def drawn(answer: Answer) -> str:
    """How both sets are spread over what is missing, and every gap."""
    return joined(_spreads(answer), _gaps(answer))


def _spreads(answer: Answer) -> str:
    """Of each reported gap that has values: how both sets are spread over them."""
    gaps = [gap for gap in mappings(answer.get("attributes")) if gap.get("reported") is True]
    return "".join(
        _spread(gap, f"{answer.get('coverage_id')}-{place}") for place, gap in enumerate(gaps)
    )


def _spread(gap: Answer, identity: str) -> str:
    found = mapping(gap.get("histogram"))
    if not found:
        return ""
    low, high = real(found["low"]), real(found["high"])
    curves = []
    for key, said in (("train", "training"), ("test", "test")):
        counts = [real(count) for count in listed(found[key])]
        width, total = (high - low) / len(counts), max(math.fsum(counts), 1.0)
        points = [(low + (n + 0.5) * width, count / total) for n, count in enumerate(counts)]
        curves.append(Curve(name=said, points=points, bars=width))
    known = [(real(gap.get(name)), said) for name, said in ENDS_OF_TRAINING.items()]
    chart = Chart(
        title=f"{gap['attribute']} in training and test",
        description=" ".join(f"{curve.name}: {extremes(curve)}" for curve in curves),
        x_label=str(gap["attribute"]),
        y_label="share of the examples",
        curves=curves,
        y_range=(0.0, max(y for curve in curves for _, y in curve.points) or 1.0),
        marks=[(place, said) for place, said in known if low <= place <= high],
    )
    svg = in_svg(chart, identity)
    return figure(svg, str(gap.get("sentence", ""))) if svg else ""


def _gaps(answer: Answer) -> str:
    """What the test examples have that training lacks, findings first."""
    reported = [gap for gap in mappings(answer.get("attributes")) if gap.get("reported") is True]
    reported.sort(key=lambda gap: (gap["finding"] is not True, -float(str(gap["outside_n"]))))
    rows = [
        (
            Cell(str(gap["attribute"])),
            numeric(_range(gap)),
            numeric(str(gap["outside_n"])),
            numeric(percent(gap["outside_share"])),
            Cell(percent(gap["error_outside"]), "n bad" if gap["finding"] is True else "n"),
            numeric(percent(gap["error_inside"])),
            Cell(" ".join(map(str, listed(gap["example_ids"])))),
        )
        for gap in reported
    ]
    headers = ("gap", "training", "outside", "share", "error outside", "error inside", "examples")
    return table("Gaps", headers, rows) + "".join(map(_neighbours, reported))


def _range(gap: Answer) -> str:
    """Of training."""
    low, high = gap.get("train_low"), gap.get("train_high")
    if high is None:
        return "" if gap.get("kind") in {*OF_DATA, SHORTCUT} else "hardly any"
    return f"up to {number(high)}" if low is None else f"{number(low)} .. {number(high)}"


def _neighbours(gap: Answer) -> str:
    near = listed(gap.get("neighbours"))
    rows = [
        (Cell(str(example)), Cell(" ".join(map(str, listed(names)))))
        for example, names in zip(listed(gap.get("example_ids")), near, strict=False)
    ]
    is_far = gap.get("kind") not in OF_DATA
    title = "The farthest examples" if is_far else str(gap["attribute"]).capitalize()
    return table(title, ("test example", "nearest training examples"), rows)
