"""`telemetry explain coverage`: is something like the test examples in the training set?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.cli.models.hypothesis_options import check_savable, hypothesis_options
from telemetry.cli.models.question import ModelQuestion, explain_verb
from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, counted
from telemetry.cli.output.model_answers import cost, listed, mappings, number
from telemetry.cli.output.render import Screen
from telemetry.errors import UsageError
from telemetry.requests.explain.coverage import KIND, CoverageRequest

if TYPE_CHECKING:
    from telemetry.json_values import Json

EXIT_FOUND = 1
SHOWN_GAPS = 10
SPREAD_WIDTH = 32  # characters of a histogram
OF_DATA = frozenset({"twin", "conflict", "doubt", "leak"})  # kinds that are no gap of training
SHORTCUT = "shortcut"  # kind of what says a class in training alone
MOST_GAP = 40  # characters of a gap that other columns make room for


@explain_verb(KIND)
@hypothesis_options(
    "Append a hypothesis to the file: the first gap has no more wrong answers than elsewhere."
)
def verb(
    question: ModelQuestion,
    request: CoverageRequest,
    /,
    *,
    save_hypothesis: str | None,
    file: Path,
) -> int:
    """Show what the test examples have that the training examples lack.

    This compares attributes (brightness, length, columns, numbers of the metadata), nearest
    neighbours in the model's representation, and ranges of every column and pair. A gap is a
    statement about the data; if the model is also wrong more often there, the exit code is 1.
    Copies of training, conflicting and doubtful labels, and a column that alone says the label are
    named, too.

    Examples:
      telemetry explain coverage latest --train shop.data:train --test shop.data:night
      telemetry explain coverage latest --train shop.data:train --layer encoder
      telemetry explain coverage latest --train shop.data:train --save-hypothesis dark
    """
    if save_hypothesis is not None:
        check_savable(file, save_hypothesis)
    (found,) = answers = question.ask(request)
    question.tell(answers, show)
    if save_hypothesis is not None:
        save(file, save_hypothesis, found, request.settings.tolerance)
        question.screen.note(f"  hypothesis {save_hypothesis} is saved in {file}")
    return EXIT_FOUND if found["finding"] is True else 0


def show(screen: Screen, found: "Mapping[str, Json]") -> None:
    """The answer, the gaps, and where to look."""
    screen.paragraph(str(found["answer"]))
    for warning in listed(found["warnings"]):
        screen.line(Span("note", Style.WARNING), str(warning))
    gaps = _gaps(found)
    if gaps:
        screen.blank()
        screen.grid(_grid(gaps[:SHOWN_GAPS] if screen.for_people else gaps))
        if screen.for_people:
            _show_spreads(screen, gaps[:SHOWN_GAPS])
        if screen.for_people and len(gaps) > SHOWN_GAPS:
            screen.note(f"  and {len(gaps) - SHOWN_GAPS} more with --json")
    screen.blank()
    for gap in gaps:
        if listed(gap["neighbours"]):
            screen.grid(_neighbours(gap))
            screen.blank()
    counts = (numbers.count(int(number(found[name]))) for name in ("test_n", "train_n"))
    screen.paragraph(
        "{} test examples of {} against {} of {}; {} comparisons, accuracy {:.1f} %; {}".format(
            next(counts),
            found["test"],
            next(counts),
            found["train"],
            len(listed(found["attributes"])),
            100 * number(found["accuracy"]),
            cost(found),
        ),
        indent=2,
    )


def _show_spreads(screen: Screen, gaps: "list[Mapping[str, Json]]") -> None:
    """How both sets are spread over the values of each gap that has some."""
    rows: list[tuple[Cell, ...]] = []
    for gap in gaps:
        found = gap["histogram"]
        if isinstance(found, Mapping):
            ends = [numbers.number(number(found[name])) for name in ("low", "high")]
            name = str(gap["attribute"])
            rows.append((name, "training", ends[0], _spread(found["train"], screen), ends[1]))
            rows.append(("", "test", "", _spread(found["test"], screen), ""))
    if rows:
        columns = (
            Column(header="SPREAD OF", shrinks=True),
            Column(header=""),
            Column(header="FROM", align=Align.RIGHT),
            Column(header="", rank=1),
            Column(header="TO"),
        )
        screen.blank()
        screen.grid(Grid(columns=columns, rows=tuple(rows)))


def _spread(counts: "Json", screen: Screen) -> str:
    """The counts in a few characters, each as high as its share of the largest."""
    known = sparklines.condense([number(count) for count in listed(counts)], SPREAD_WIDTH)
    most = max((count for count in known if count is not None), default=0.0)
    return sparklines.sparkline(known, levels=screen.levels, extremes=(0.0, most))


def save(file: Path, name: str, found: "Mapping[str, Json]", tolerance: float | None) -> None:
    """Keep the first gap as a hypothesis: outside training, no more answers are wrong.

    Raises:
        UsageError: there is no gap, or the file cannot take it.
    """
    from telemetry.evaluate.hypothesis_testing.file import append_hypothesis  # noqa: PLC0415 - as above
    from telemetry.evaluate.hypothesis_testing.hypothesis import (  # noqa: PLC0415 - keeps --help fast
        Expectation,
        Hypothesis,
        Kind,
        Op,
    )

    gaps = [gap for gap in _gaps(found) if gap["kind"] not in OF_DATA]
    if not gaps:
        raise UsageError(
            f"no gap was found in the training data, so the hypothesis {name} is not saved."
        )
    first = gaps[0]
    error = first["error_inside"]
    limit = 1 - number(found["accuracy"]) if error is None else number(error)
    append_hypothesis(
        file,
        Hypothesis(
            name=name,
            statement=f"Where {first['where']}, which training lacks, errors are no more frequent",
            kind=Kind.SUBSET,
            base=str(found["test"]),
            where=str(first["where"]),
            tolerance=tolerance,
            expect=Expectation(metric="error", op=Op.AT_MOST, value=float(f"{limit:.4g}")),
        ),
    )


def _gaps(found: "Mapping[str, Json]") -> "list[Mapping[str, Json]]":
    """The reported ones, findings first, then those of most examples."""
    reported = [gap for gap in mappings(found["attributes"]) if gap["reported"] is True]
    return sorted(reported, key=lambda gap: (gap["finding"] is not True, -_outside(gap)))


def _outside(gap: "Mapping[str, Json]") -> int:
    return int(number(gap["outside_n"]))


def _grid(gaps: "list[Mapping[str, Json]]") -> Grid:
    longest = max((len(str(gap["attribute"])) for gap in gaps), default=0)
    columns = (
        Column(header="GAP", shrinks=True, least=min(MOST_GAP, longest)),
        Column(header="TRAINING", align=Align.RIGHT),
        Column(header="OUTSIDE", align=Align.RIGHT),
        Column(header="SHARE", align=Align.RIGHT, rank=1),
        Column(header="SHIFT", align=Align.RIGHT, rank=4),
        Column(header="ERROR", align=Align.RIGHT),
        Column(header="REST", align=Align.RIGHT, rank=2),
        Column(header="P", align=Align.RIGHT, rank=3),
        Column(header="EXAMPLES", rank=5),
    )
    return Grid(columns=columns, rows=tuple(map(_row, gaps)))


def _row(gap: "Mapping[str, Json]") -> tuple[Cell, ...]:
    is_finding = gap["finding"] is True
    return (
        str(gap["attribute"]),
        _range(gap),
        counted(_outside(gap)),
        numbers.percent(number(gap["outside_share"])),
        numbers.NOTHING if gap["shift_sd"] is None else f"{number(gap['shift_sd']):+.2f} sd",
        Span(_error(gap["error_outside"]), Style.ERROR if is_finding else Style.PLAIN),
        _error(gap["error_inside"]),
        numbers.NOTHING if gap["error_p"] is None else numbers.number(number(gap["error_p"])),
        _joined(gap["example_ids"]),
    )


def _neighbours(gap: "Mapping[str, Json]") -> Grid:
    """Some test examples, the farthest first, each with what training has nearest to it."""
    is_far = gap["kind"] not in OF_DATA
    columns = (
        Column(
            header="FARTHEST" if is_far else str(gap["attribute"]).upper(), shrinks=True, least=16
        ),
        Column(header="NEAREST TRAINING EXAMPLES", shrinks=True, least=16),
    )
    pairs = zip(listed(gap["example_ids"]), listed(gap["neighbours"]), strict=True)
    return Grid(
        columns=columns, rows=tuple((str(example), _joined(near)) for example, near in pairs)
    )


def _joined(names: "Json") -> str:
    return " ".join(map(str, listed(names)))


def _range(gap: "Mapping[str, Json]") -> str:
    """Of training."""
    if gap["train_high"] is None:
        return numbers.NOTHING if gap["kind"] in {*OF_DATA, SHORTCUT} else "hardly any"
    high = f"{number(gap['train_high']):.3g}"
    if gap["train_low"] is None:
        return f"up to {high}"
    return f"{number(gap['train_low']):.3g} .. {high}"


def _error(share: "Json") -> str:
    return numbers.NOTHING if share is None else f"{100 * number(share):.1f} %"
