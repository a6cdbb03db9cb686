"""Of `explain features`: what excites units, and when the layers have settled."""

from telemetry.answer_page.curves import Chart, Curve, extremes, in_svg
from telemetry.answer_page.html import NOTHING, Cell, figure, joined, number, numeric, table
from telemetry.answer_page.reading import Answer, listed, mapping, mappings, real


def drawn(answer: Answer) -> str:
    """The course of the layers, and the units."""
    return joined(_evolution(answer), _units(answer))


def _evolution(answer: Answer) -> str:
    """How far each layer is from what it became."""
    evolved = mapping(answer.get("evolution"))
    layers = mappings(evolved.get("layers"))
    if not layers:
        return ""
    word = "step" if evolved.get("has_steps") is True else "checkpoint"
    curves = [
        Curve(
            name=str(layer["layer"]),
            points=[(float(n), real(value)) for n, value in enumerate(listed(layer["changes"]))],
        )
        for layer in layers
    ]
    chart = Chart(
        title="How far each layer is from the last checkpoint",
        description=" ".join(f"{curve.name}: {extremes(curve)}" for curve in curves),
        x_label=f"{word}, one place a checkpoint",
        y_label="1 - CKA with the last",
        curves=curves,
        x_names=[str(step) for step in listed(evolved.get("steps"))],
    )
    svg = in_svg(chart, str(evolved.get("viz_id")))
    return figure(svg, "0: same as at the last checkpoint") if svg else ""


def _units(answer: Answer) -> str:
    """What excites each unit, and when the layers have settled."""
    rows = [
        (
            numeric(str(unit["unit"])),
            numeric(
                number(patches[0]["value"]) if (patches := mappings(unit["patches"])) else NOTHING
            ),
            Cell(" ".join(str(patch["label"]) for patch in patches) or _silent(unit)),
            Cell(str(patches[0]["example_id"]) if patches else NOTHING),
        )
        for unit in mappings(answer.get("units"))
    ]
    headers = ("unit", "most", "labels of its patches", "strongest example")
    evolved = mapping(answer.get("evolution"))
    word = "step" if evolved.get("has_steps") is True else "checkpoint"
    courses = [
        (
            Cell(str(course["layer"])),
            numeric("unchanged" if course["unchanged"] is True else str(course["settled"])),
            numeric(number(listed(course["changes"])[0])),
        )
        for course in mappings(evolved.get("layers"))
    ]
    settled = ("layer", f"settled at {word}", "1 - CKA at first")
    return table("Units", headers, rows) + table("Layers", settled, courses)


def _silent(unit: Answer) -> str:
    return "dead" if unit.get("dead") is True else "no example stands out"
