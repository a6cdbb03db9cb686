"""Of `explain weights`: layers beside fresh ones."""

from collections.abc import Sequence

from telemetry.answer_page.html import Cell, number, numeric, table
from telemetry.answer_page.reading import Answer, listed


def drawn(answer: Answer) -> str:
    """One layer beside a fresh one."""
    rows = [
        (Cell(said), numeric(number(answer[name])), numeric(number(answer[f"random_{name}"])))
        for name, said in (("rank", "effective rank"), ("smoothness", "smoothness of kernels"))
        if answer.get(name) is not None
    ]
    return table("Compared with a fresh layer of this shape", ("", "here", "fresh"), rows)


def summary(answers: Sequence[Answer]) -> str:
    """Of several layers all, a line each."""
    if len(answers) == 1:
        return ""
    rows = [
        (
            Cell(str(entry["layer"])),
            numeric(str(listed(entry["shape"])[0])),
            numeric(number(entry["rank"])),
            numeric(number(entry["random_rank"])),
            Cell(str(len(listed(entry["dead"]))), "n bad" if listed(entry["dead"]) else "n"),
            numeric("?" if entry["duplicates"] is None else str(len(listed(entry["duplicates"])))),
            numeric(number(entry["norm_median"])),
        )
        for entry in answers
    ]
    headers = ("layer", "rows", "rank", "rank if fresh", "dead", "near-duplicates", "median norm")
    return table("Layers", headers, rows)
