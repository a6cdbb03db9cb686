"""The table of each kind of answer."""

from collections.abc import Sequence

from telemetry.answer_page.html import Cell, number, percent, signed, table
from telemetry.answer_page.reading import Answer, listed, mapping, mappings
from telemetry.json_values import Json

SETS = ("repair", "break")
NOTHING = "-"
MOST_BASELINES = 3  # that have columns of their own
VERDICTS = {"better": "good", "worse": "bad"}


def parts(answer: Answer) -> str:
    """Parts of an input that speak most for the score, and answers that come without them."""
    top = mappings(answer.get("top"))
    names = [str(name) for name in listed(answer.get("baselines"))]
    each = names if 1 < len(names) <= MOST_BASELINES else []
    has_std = any(part.get("std") is not None for part in top)
    rows = [
        (
            Cell(str(part["segment"])),
            _n(signed(part["value"]) + ("?" if part.get("unstable") is True else "")),
            *([_n(number(part.get("std")))] if has_std else []),
            *(_n(number(mapping(part.get("by_baseline")).get(name))) for name in each),
            _n(percent(part["share"])),
        )
        for part in top
    ]
    headers = ("part", "value", *(["sd"] if has_std else []), *each, "share")
    changed = [
        (Cell(str(one["segment"])), Cell(str(one["prediction"])), _n(percent(one["share"])))
        for one in mappings(answer.get("changed"))
    ]
    instead = ("hidden", "answer", "share of the references")
    return table("Parts that speak most for the score", headers, rows) + table(
        "Answers that come instead where a part is hidden", instead, changed
    )


def steps(answer: Answer) -> str:
    """Every value of an axis with the answer to it."""
    axis = _with_unit(answer)
    if answer.get("example_id") is None:
        rows = [
            (
                _n(number(row["value"])),
                _n(percent(row["accuracy"])),
                _n(f"{percent(row['ci_low'])} .. {percent(row['ci_high'])}"),
                _n(percent(row["clipped"])),
            )
            for row in mappings(answer.get("rows"))
        ]
        return table(f"Accuracy along {axis}", (axis, "accuracy", "95 % interval", "clipped"), rows)
    rows_of_one = [
        (
            _n(number(row["value"])),
            Cell(str(row["prediction"])),
            Cell("right", "good") if row["correct"] is True else Cell("wrong", "bad"),
            _n(number(row["p_label"])),
            _n(number(row["margin"])),
            _n(percent(row["clipped"])),
        )
        for row in mappings(answer.get("rows"))
    ]
    headers = (axis, "answer", "", "p of the truth", "margin", "clipped")
    return table(f"Answers along {axis}", headers, rows_of_one)


def changes(answer: Answer) -> str:
    """What the repair and the break take from the other input."""
    sets = [(name, found) for name in SETS if (found := mapping(answer.get(name)))]
    if answer.get("cell") is None:
        edits = [
            (
                Cell(name),
                Cell(str(edit["name"])),
                Cell(_value(edit["before"])),
                Cell(_value(edit["after"])),
            )
            for name, found in sets
            for edit in mappings(found.get("edits"))
        ]
        return table("Least sets of changes", ("set", "part", "wrong", "right"), edits)
    rows = [(name, f["parts"], f["share"], f["components"]) for name, f in sets]
    if answer.get("right_id") is not None:
        region = [answer.get(f"region{part}") for part in ("", "_share", "_components")]
        rows.append(("region", region[0], region[1], region[2]))
    cells = [
        (Cell(name), _n(str(len(listed(found)))), _n(percent(share)), _n(str(places)))
        for name, found, share, places in rows
    ]
    return table("Cells of the image", ("set", "cells", "pixels", "places"), cells)


def gaps(answer: Answer) -> str:
    """What the test examples have that training lacks, findings first."""
    reported = [gap for gap in mappings(answer.get("attributes")) if gap.get("reported") is True]
    reported.sort(key=lambda gap: (gap["finding"] is not True, -float(str(gap["outside_n"]))))
    rows = [
        (
            Cell(str(gap["attribute"])),
            _n(_range(gap)),
            _n(str(gap["outside_n"])),
            _n(percent(gap["outside_share"])),
            Cell(percent(gap["error_outside"]), "n bad" if gap["finding"] is True else "n"),
            _n(percent(gap["error_inside"])),
            Cell(" ".join(map(str, listed(gap["example_ids"])))),
        )
        for gap in reported
    ]
    headers = ("gap", "training", "outside", "share", "error outside", "error inside", "examples")
    return table("Gaps", headers, rows) + "".join(map(_neighbours, reported))


def layer(answer: Answer) -> str:
    """One layer beside a fresh one."""
    rows = [
        (Cell(said), _n(number(answer[name])), _n(number(answer[f"random_{name}"])))
        for name, said in (("rank", "effective rank"), ("smoothness", "smoothness of kernels"))
        if answer.get(name) is not None
    ]
    return table("Beside a fresh layer of this shape", ("", "here", "fresh"), rows)


def layers(answers: Sequence[Answer]) -> str:
    """All layers, a line each."""
    rows = [
        (
            Cell(str(entry["layer"])),
            _n(str(listed(entry["shape"])[0])),
            _n(number(entry["rank"])),
            _n(number(entry["random_rank"])),
            Cell(str(len(listed(entry["dead"]))), "n bad" if listed(entry["dead"]) else "n"),
            _n("?" if entry["duplicates"] is None else str(len(listed(entry["duplicates"])))),
            _n(number(entry["norm_median"])),
        )
        for entry in answers
    ]
    headers = ("layer", "rows", "rank", "rank if fresh", "dead", "near-duplicates", "median norm")
    return table("Layers", headers, rows)


def units(answer: Answer) -> str:
    """What excites each unit, and when the layers have settled."""
    rows = [
        (
            _n(str(unit["unit"])),
            _n(number(patches[0]["value"]) if (patches := mappings(unit["patches"])) else NOTHING),
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
            _n("unchanged" if course["unchanged"] is True else str(course["settled"])),
            _n(number(listed(course["changes"])[0])),
        )
        for course in mappings(evolved.get("layers"))
    ]
    settled = ("layer", f"settled at {word}", "1 - CKA at first")
    return table("Units", headers, rows) + table("Layers", settled, courses)


def real_examples(answer: Answer) -> str:
    """What real examples reach, and what the picture does."""
    reached = [
        (Cell("the picture made for it"), _n(number(answer.get("activation")))),
        (Cell("noise, mean"), _n(number(answer.get("noise_mean")))),
        *(
            (Cell(f"example {example['example_id']}"), _n(number(example["value"])))
            for example in mappings(answer.get("top"))
        ),
    ]
    return table("Activations of the unit", ("input", "activation"), reached)


def configurations(answer: Answer) -> str:
    """Configurations of a cross-validation, the one that is used first."""
    rows = [
        (
            _n(str(place)),
            Cell(", ".join(f"{k}={_value(v)}" for k, v in mapping(c["parameters"]).items())),
            _n(number(c["mean_kept"])),
            _n(f"{c['folds']}{_lost(c)}"),
            _n(" .. ".join(signed(end) for end in listed(c["ci"])) or NOTHING),
            _n(number(c["p"])),
            Cell(str(c["verdict"]).replace("_", " "), VERDICTS.get(str(c["verdict"]), "")),
        )
        for place, c in enumerate(mappings(answer.get("configurations")))
    ]
    metric = str(answer.get("metric"))
    headers = ("", "configuration", metric, "folds", "difference, 95 %", "p", "verdict")
    return table("Configurations", headers, rows)


def stored(answer: Answer) -> str:
    """Rows of a table that keeps answers, as a terminal shows them."""
    kept = mapping(answer.get("table"))
    rows = [[Cell(str(cell)) for cell in listed(row)] for row in listed(kept.get("rows"))]
    return table("Stored numbers", [str(name) for name in listed(kept.get("headers"))], rows)


def _lost(configuration: Answer) -> str:
    return f", {configuration['lost']} lost" if configuration.get("lost") else ""


def _range(gap: Answer) -> str:
    """Of training."""
    low, high = gap.get("train_low"), gap.get("train_high")
    if high is None:
        return "hardly any"
    return f"up to {number(high)}" if low is None else f"{number(low)} .. {number(high)}"


def _neighbours(gap: Answer) -> str:
    near = listed(gap.get("neighbours"))
    rows = [
        (Cell(str(example)), Cell(" ".join(map(str, listed(names)))))
        for example, names in zip(listed(gap.get("example_ids")), near, strict=False)
    ]
    return table("The farthest examples", ("test example", "nearest training examples"), rows)


def _with_unit(answer: Answer) -> str:
    unit = answer.get("unit")
    return f"{answer.get('axis')} ({unit})" if unit else str(answer.get("axis"))


def _silent(unit: Answer) -> str:
    return "dead" if unit.get("dead") is True else "no example stands out"


def _value(value: Json) -> str:
    if value is None:
        return NOTHING
    return number(value) if isinstance(value, float) else str(value)


def _n(text: str) -> Cell:
    return Cell(text, "n")
