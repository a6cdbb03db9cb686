"""`telemetry explain RUN`: what is wrong with the answers of a model, on one page."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from telemetry.cli.models.child import ask
from telemetry.cli.models.pages import write_page
from telemetry.cli.models.question import ModelQuestion, explain_verb
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.render import Screen
from telemetry.errors import TelemetryError, UsageError
from telemetry.requests.evaluate import KIND as EVALUATE
from telemetry.requests.evaluate import EvaluateRequest
from telemetry.requests.explain.coverage import KIND as COVERAGE
from telemetry.requests.explain.coverage import CoverageRequest
from telemetry.requests.explain.input import KIND as INPUT
from telemetry.requests.explain.input import InputRequest, InputSettings
from telemetry.requests.kinds import ExplainKind
from telemetry.requests.models import ExplainRequest
from telemetry.requests.settings import Setting

if TYPE_CHECKING:
    from telemetry.evaluate.overview.overview import Overview

NAME = "summary"
SHOWN_ANSWERS = 5  # wrong ones, to people
SHORT = 8  # characters of an id


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRequest(ExplainRequest):
    """Sum up what is known, and ask about wrong answers that nobody has asked about."""

    train: Annotated[
        str | None,
        Setting(
            "Training examples to compare with (default: those that the run names).",
            metavar="MODULE:NAME",
        ),
    ] = None


# Its wrong answers are questions of `input`, and are kept as those.
KIND = ExplainKind(
    name=NAME,
    verb=INPUT.verb,
    request=SummaryRequest,
    room=INPUT.room,
    doing=INPUT.doing,
    key=INPUT.key,
    table=INPUT.table,
    identity=INPUT.identity,
    about=INPUT.about,
)


@explain_verb(KIND)
def verb(question: ModelQuestion, request: SummaryRequest, /) -> int:
    """Sum up what is wrong with the answers of a model; `telemetry explain RUN` is short for it.

    Says how many examples are answered wrongly, whether the model is as right as it is sure, what
    it takes for what, which groups are worst, what leads twenty wrong answers, and what training
    lacks. Stored answers are read; what is not stored yet is computed once and stored.

    Examples:
      telemetry explain latest
      telemetry explain latest --html page.html
      telemetry explain latest --train shop:Train
      telemetry explain best.pt --model shop:build --dataset shop:Valid
    """
    found, notes = _overview(question, request.train)
    document = {**found.to_json(), "notes": [*found.notes, *notes]}
    if question.html is not None:
        title = f"telemetry explain {question.run.name} ({question.run.short})"
        write_page(question.html, title, NAME, [document], found.picture)
    if question.screen.wants_json:
        stored = question.keep.run is not None
        question.screen.json({"run": question.run.run, "stored": stored, "summary": document})
        return 0
    show(question.screen, found, notes)
    if question.html is not None:
        question.screen.verbatim(str(question.html), label="page")
    return 0


def _overview(question: ModelQuestion, train: str | None) -> "tuple[Overview, list[str]]":
    """What is stored, after what is missing was asked and stored; why something could not be.

    Raises:
        UsageError: nothing was evaluated, and nothing can be.
    """
    from telemetry.evaluate.overview.overview import overview  # noqa: PLC0415 - duckdb

    try:
        found = overview(question.store, question.run)
    except UsageError:
        if question.keep.run is None:
            raise
        judging = EvaluateRequest(source=question.source, run=question.keep.run)
        ask(EVALUATE.document(judging), "evaluating", question.timeout_s)
        found = overview(question.store, question.run)
    missing = list(_missing(question, found, train))
    notes = []
    for kind, request, about in missing:
        try:
            replace(question, kind=kind, out=None).ask(request)
        except TelemetryError as error:
            notes.append(f"{about}: {error}")
    return (overview(question.store, question.run) if missing else found), notes


def _missing(
    question: ModelQuestion, found: "Overview", train: str | None
) -> Iterator[tuple[ExplainKind[ExplainRequest], ExplainRequest, str]]:
    """Questions whose answers are not stored yet: of which kind, and what they are about."""
    if question.keep.run is None:
        return
    if found.unexplained:
        settings = InputSettings(check=False)
        yield INPUT, InputRequest(examples=found.unexplained, settings=settings), "wrong answers"
    try:
        named = train or question.stated.train
    except UsageError:  # no model was given, which is said elsewhere
        return
    if named is not None and not any(gap.about.endswith(f" by {named}") for gap in found.gaps):
        yield COVERAGE, CoverageRequest(train=named), "training"


def show(screen: Screen, found: "Overview", notes: list[str]) -> None:
    """One paragraph a question, each with the command that says more."""
    screen.paragraph(found.answer + ".")
    screen.blank()
    for label, said in _findings(found):
        screen.paragraph(said, label=label)
    for note in (*found.notes, *notes):
        screen.paragraph(note, label="note")
    if not found.leaders:
        return
    screen.blank()
    screen.grid(_leaders(found))
    if screen.for_people:
        screen.blank()
        for asked in found.explained[:SHOWN_ANSWERS]:
            screen.paragraph(asked.answer, label=asked.id[:SHORT])
        run = found.examples.evaluation.run.short
        screen.note(Span(f"telemetry explain list {run} has all answers", Style.FAINT))


def _findings(found: "Overview") -> Iterator[tuple[str, str]]:
    """What each question found, by its name."""
    run = found.examples.evaluation.run.short
    if found.calibration is not None:
        yield "calibration", found.calibration.sentence
    if found.confusions:
        told = [f'"{c.label}" as "{c.prediction}" {c.n} times' for c in found.confusions]
        yield "confused", ", ".join(told)
    if found.slices is not None:
        yield "groups", f"{found.slices.answer}  (telemetry slices {run})"
    if found.gaps:
        from telemetry.evaluate.overview.lacks import lacks_of  # noqa: PLC0415 - duckdb

        gap = found.gaps[0]
        lacks = lacks_of(gap)
        for lack in lacks[:-1]:
            yield "training", lack
        yield "training", f"{lacks[-1]}  (telemetry explain show {gap.id[:SHORT]})"
    else:
        command = f"telemetry explain coverage {run} --train MODULE:NAME"
        yield "training", f"not compared with the training data: {command}"


def _leaders(found: "Overview") -> Grid:
    """Parts that lead wrong answers, and where one can see it."""
    return Grid(
        columns=(
            Column(header="LEADS WRONG ANSWERS", shrinks=True),
            Column(header="IN", align=Align.RIGHT),
            Column(header="SHOW", rank=1),
        ),
        rows=tuple(
            (
                leader.part,
                f"{leader.n} of {len(found.explained)}",
                f"telemetry explain show {leader.ids[0][:SHORT]}",
            )
            for leader in found.leaders
        ),
    )
