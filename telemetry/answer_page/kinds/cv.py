"""Of `cv compare`: configurations of a cross-validation."""

import math

from telemetry.answer_page.curves import Chart, Curve, extremes, in_svg
from telemetry.answer_page.html import (
    NOTHING,
    Cell,
    figure,
    joined,
    number,
    numeric,
    plain,
    signed,
    table,
)
from telemetry.answer_page.reading import Answer, listed, mapping, mappings, real

VERDICTS = {"better": "good", "worse": "bad"}


def drawn(answer: Answer) -> str:
    """The differences as intervals, and every configuration."""
    return joined(_comparison(answer), _configurations(answer))


def _comparison(answer: Answer) -> str:
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
        description=f"{answer.get('answer')}. {extremes(curve)}",
        x_label="configuration, as numbered in the table",
        y_label=f"difference of {metric}",
        curves=[curve],
        y_range=(min(known), max(known)) if known and max(known) > min(known) else None,
        x_names=[str(c.get("number")) for c in compared],
    )
    svg = in_svg(chart, f"cv-{answer.get('cv_id')}")
    goal = "below" if answer.get("goal") == "min" else "above"
    return figure(svg, f"95 % intervals; {goal} 0 is better") if svg else ""


def _configurations(answer: Answer) -> str:
    """Configurations of a cross-validation, the one that is used first."""
    rows = [
        (
            numeric(str(place)),
            Cell(", ".join(f"{k}={plain(v)}" for k, v in mapping(c["parameters"]).items())),
            numeric(number(c["mean_kept"])),
            numeric(f"{c['folds']}{_lost(c)}"),
            numeric(" .. ".join(signed(end) for end in listed(c["ci"])) or NOTHING),
            numeric(number(c["p"])),
            Cell(str(c["verdict"]).replace("_", " "), VERDICTS.get(str(c["verdict"]), "")),
        )
        for place, c in enumerate(mappings(answer.get("configurations")))
    ]
    metric = str(answer.get("metric"))
    headers = ("", "configuration", metric, "folds", "difference, 95 %", "p", "verdict")
    return table("Configurations", headers, rows)


def _lost(configuration: Answer) -> str:
    return f", {configuration['lost']} lost" if configuration.get("lost") else ""
