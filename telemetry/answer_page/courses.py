"""The curves of answers: along an axis, and of layers over checkpoints."""

import math

from telemetry.answer_page.curves import Chart, Curve, drawn
from telemetry.answer_page.html import figure
from telemetry.answer_page.reading import Answer, listed, mapping, mappings, real

SHARE = (0.0, 1.0)
ENDS_OF_TRAINING = {"train_low": "least usual of training", "train_high": "most usual"}


def perturbation(answer: Answer) -> str:
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
        description=f"{answer.get('answer')} {_extremes(curve)}",
        x_label=axis,
        y_label=said,
        curves=[curve],
        y_range=SHARE if whole else None,
        marks=[(neutral, "unchanged")] if inside else [],
    )
    svg = drawn(chart, str(answer.get("perturbation_id")))
    if not svg:
        return ""
    shapes = (
        "dots: as good as unchanged; crosses: dropped by 5 points or more; shaded: 95 % interval"
        if whole
        else "dots: right; crosses: wrong; below 0 another answer leads"
    )
    return figure(svg, shapes)


def evolution(answer: Answer) -> str:
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
        description=" ".join(f"{curve.name}: {_extremes(curve)}" for curve in curves),
        x_label=f"{word}, one place a checkpoint",
        y_label="1 - CKA with the last",
        curves=curves,
        x_names=[str(step) for step in listed(evolved.get("steps"))],
    )
    svg = drawn(chart, str(evolved.get("viz_id")))
    return figure(svg, "0: as at the last checkpoint") if svg else ""


def spreads(answer: Answer) -> str:
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
        curves.append(Curve(name=said, points=points))
    known = [(real(gap.get(name)), said) for name, said in ENDS_OF_TRAINING.items()]
    chart = Chart(
        title=f"{gap['attribute']} in training and test",
        description=" ".join(f"{curve.name}: {_extremes(curve)}" for curve in curves),
        x_label=str(gap["attribute"]),
        y_label="share of the examples",
        curves=curves,
        marks=[(place, said) for place, said in known if low <= place <= high],
    )
    svg = drawn(chart, identity)
    return figure(svg, str(gap.get("sentence", ""))) if svg else ""


def comparison(answer: Answer) -> str:
    """The difference of every configuration to the one that is used, with its interval."""
    numbered = enumerate(mappings(answer.get("configurations")))
    compared = [{**c, "number": place} for place, c in numbered if listed(c.get("ci"))]
    ends = [(real(listed(c["ci"])[0]), real(listed(c["ci"])[1])) for c in compared]
    points = [(float(n), real(c.get("difference"))) for n, c in enumerate(compared)]
    metric = str(answer.get("metric"))
    curve = Curve(name=metric, points=points, band=ends, is_line=False)
    known = [end for pair in ends for end in (*pair, 0.0) if math.isfinite(end)]
    chart = Chart(
        title=f"Difference of {metric} to the configuration that is used",
        description=f"{answer.get('answer')}. {_extremes(curve)}",
        x_label="configuration, as numbered in the table",
        y_label=f"difference of {metric}",
        curves=[curve],
        y_range=(min(known), max(known)) if known and max(known) > min(known) else None,
        x_names=[str(c.get("number")) for c in compared],
    )
    svg = drawn(chart, f"cv-{answer.get('cv_id')}")
    goal = "below" if answer.get("goal") == "min" else "above"
    return figure(svg, f"95 % intervals; {goal} 0 is better") if svg else ""


def _extremes(curve: Curve) -> str:
    points = [(x, y) for x, y in curve.points if math.isfinite(y)]
    if not points:
        return "no value is known."
    least, most = (pick(points, key=lambda p: p[1]) for pick in (min, max))
    return f"least {least[1]:.4g} at {least[0]:.4g}, most {most[1]:.4g} at {most[0]:.4g}."
