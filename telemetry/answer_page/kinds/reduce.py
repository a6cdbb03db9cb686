"""Of `explain reduce`: what a repair and a break take from the other input."""

from telemetry.answer_page.html import Cell, numeric, percent, plain, table
from telemetry.answer_page.reading import Answer, listed, mapping, mappings

SETS = ("repair", "break")


def drawn(answer: Answer) -> str:
    """What the repair and the break take from the other input."""
    sets = [(name, found) for name in SETS if (found := mapping(answer.get(name)))]
    if answer.get("cell") is None:
        edits = [
            (
                Cell(name),
                Cell(str(edit["name"])),
                Cell(plain(edit["before"])),
                Cell(plain(edit["after"])),
            )
            for name, found in sets
            for edit in mappings(found.get("edits"))
        ]
        return table("Smallest sets of changes", ("set", "part", "wrong", "right"), edits)
    rows = [(name, f["parts"], f["share"], f["components"]) for name, f in sets]
    if answer.get("right_id") is not None:
        region = [answer.get(f"region{part}") for part in ("", "_share", "_components")]
        rows.append(("region", region[0], region[1], region[2]))
    cells = [
        (
            Cell(name),
            numeric(str(len(listed(found)))),
            numeric(percent(share)),
            numeric(str(places)),
        )
        for name, found, share, places in rows
    ]
    return table("Cells of the image", ("set", "cells", "pixels", "places"), cells)
