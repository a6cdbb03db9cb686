"""Of `explain perturb`: the answer along an axis."""

from telemetry.answer_page.curves import Chart, Curve, extremes, in_svg
from telemetry.answer_page.html import Cell, figure, joined, number, numeric, percent, table
from telemetry.answer_page.reading import Answer, mappings, real

SHARE = (0.0, 1.0)


def drawn(answer: Answer) -> str:
    """The course as a curve, and every value with the answer to it."""
    return joined(_curve(answer), _steps(answer))


def _curve(answer: Answer) -> str:
    """Accuracy of a set, or by how much the truth of one example leads."""
    rows = mappings(answer.get("rows"))
    whole = answer.get("example_id") is None
    column, said = ("accuracy", "accuracy") if whole else ("margin", "margin of the truth")
    unit = f" ({answer['unit']})" if answer.get("unit") else ""
    axis = f"{answer.get('axis')}{unit}"
    neutral = real(answer.get("neutral"))
    curve = Curve(
        name=said,
        points=[(real(row["value"]), real(row.get(column))) for row in rows],
        wrong=frozenset(real(row["value"]) for row in rows if row.get("correct") is not True),
        band=[(real(row["ci_low"]), real(row["ci_high"])) for row in rows] if whole else (),
    )
    inside = any(real(row["value"]) == neutral for row in rows)
    chart = Chart(
        title=f"{said} along {axis}",
        description=f"{answer.get('answer')} {extremes(curve)}",
        x_label=axis,
        y_label=said,
        curves=[curve],
        y_range=SHARE if whole else None,
        marks=[(neutral, "unchanged")] if inside else [],
    )
    svg = in_svg(chart, str(answer.get("perturbation_id")))
    if not svg:
        return ""
    shapes = (
        (
            "dots: as good as without a change; crosses: dropped by 5 points or more; shaded: 95 % "
            "interval"
        )
        if whole
        else "dots: right; crosses: wrong; below 0 another answer leads"
    )
    return figure(svg, shapes)


def _steps(answer: Answer) -> str:
    """Every value of an axis with the answer to it."""
    axis = _with_unit(answer)
    if answer.get("example_id") is None:
        rows = [
            (
                numeric(number(row["value"])),
                numeric(percent(row["accuracy"])),
                numeric(f"{percent(row['ci_low'])} .. {percent(row['ci_high'])}"),
                numeric(percent(row["clipped"])),
            )
            for row in mappings(answer.get("rows"))
        ]
        return table(f"Accuracy along {axis}", (axis, "accuracy", "95 % interval", "clipped"), rows)
    rows_of_one = [
        (
            numeric(number(row["value"])),
            Cell(str(row["prediction"])),
            Cell("right", "good") if row["correct"] is True else Cell("wrong", "bad"),
            numeric(number(row["p_label"])),
            numeric(number(row["margin"])),
            numeric(percent(row["clipped"])),
        )
        for row in mappings(answer.get("rows"))
    ]
    headers = (axis, "answer", "", "p of the truth", "margin", "clipped")
    return table(f"Answers along {axis}", headers, rows_of_one)


def _with_unit(answer: Answer) -> str:
    unit = answer.get("unit")
    return f"{answer.get('axis')} ({unit})" if unit else str(answer.get("axis"))
