"""What is shown of evaluations: the answer, the course over checkpoints, the worst examples."""

import math
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.model_answers import known_number, mappings, number
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural
from telemetry.requests.models import LIVE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.json_values import Json

    Evaluation = Mapping[str, Json]

RANDOM = "the model gives different answers when run twice: is dropout on, or is something random?"
SHOWN = 5  # worst examples on a terminal


def show(screen: Screen, found: "Sequence[Evaluation]") -> None:
    """The answer first, then the worst examples of the last checkpoint."""
    last = found[-1]
    if len(found) > 1:
        screen.paragraph(course(found))
        screen.blank()
        screen.grid(_course_grid(found))
        screen.blank()
    screen.paragraph(sentence(last))
    if last["random"] is True:
        screen.line(Span("note", Style.WARNING), RANDOM)
    screen.blank()
    screen.grid(_worst_grid(screen, mappings(last.get("worst"))))


def sentence(evaluation: "Evaluation") -> str:
    """What came out, in one sentence."""
    n = int(str(evaluation["examples"]))
    accuracy = known_number(evaluation.get("accuracy"))
    what = f"{plural(n, 'example')} of {evaluation['dataset']}: {_quality(evaluation)}"
    if (n_lost := int(str(evaluation["not_finite"]))) > 0:
        what += f", {n_lost} answers are NaN or infinite"
    where = f"weights {evaluation['checkpoint']}"
    if str(evaluation["checkpoint"]).startswith(f"{LIVE}:"):
        where = "initial weights of the model, because no --checkpoint was given"
    if evaluation.get("step") is not None:
        where += f" of step {evaluation['step']}"
    if evaluation.get("probabilities") is True:
        where += ", outputs read as probabilities"
    if accuracy is None:
        return f"{what} ({where})."
    sure = int(str(evaluation["confident_errors"]))
    wrong = round(n * (1 - accuracy))
    loss = numbers.number(known_number(evaluation["loss"]))
    return (
        f"{what}, loss {loss}; {wrong} wrong, {sure} of them with at least 90 % confidence "
        f"({where})."
    )


def course(found: "Sequence[Evaluation]") -> str:
    """How the first, the last and the best of several checkpoints did, in one sentence."""
    first, last, best = found[0], found[-1], max(found, key=_worth)
    told = [f"{_quality(one)} at {_step(one)}" for one in (first, last)]
    if best not in (first, last):
        told.append(f"best {_quality(best)} at {_step(best)}")
    return f"{len(found)} checkpoints on {last['dataset']}: {', '.join(told)}."


def has_errors(evaluation: "Evaluation") -> bool:
    """Whether an example of it is answered wrongly; a regression always errs."""
    accuracy = known_number(evaluation.get("accuracy"))
    return accuracy is None or accuracy < 1


def _worth(evaluation: "Evaluation") -> float:
    """Larger is better; what is not known is worst."""
    accuracy = known_number(evaluation.get("accuracy"))
    loss = known_number(evaluation["loss"])
    worth = accuracy if accuracy is not None else -math.inf if loss is None else -loss
    return -math.inf if math.isnan(worth) else worth


def _quality(evaluation: "Evaluation") -> str:
    accuracy = known_number(evaluation.get("accuracy"))
    if accuracy is None:
        return f"mean squared error {numbers.number(known_number(evaluation['loss']))}"
    return f"{100 * accuracy:.1f} % correct"


def _step(evaluation: "Evaluation") -> str:
    step = evaluation.get("step")
    return f"weights {evaluation['checkpoint']}" if step is None else f"step {step}"


def _course_grid(found: "Sequence[Evaluation]") -> Grid:
    is_regression = known_number(found[-1].get("accuracy")) is None
    columns = [
        Column(header="STEP", align=Align.RIGHT),
        Column(header="WEIGHTS"),
        *(() if is_regression else (Column(header="RIGHT", align=Align.RIGHT),)),
        Column(header="LOSS", align=Align.RIGHT),
        *(() if is_regression else (Column(header="SURELY WRONG", align=Align.RIGHT),)),
    ]
    rows = []
    for one in found:
        step = numbers.NOTHING if one.get("step") is None else str(one["step"])
        loss = numbers.number(known_number(one["loss"]))
        cells = [step, str(one["checkpoint"]), loss]
        if not is_regression:
            cells.insert(2, f"{100 * number(one['accuracy']):.1f} %")
            cells.append(str(one["confident_errors"]))
        rows.append(tuple(cells))
    return Grid(columns=tuple(columns), rows=tuple(rows))


def _worst_grid(screen: Screen, rows: "Sequence[Mapping[str, Json]]") -> Grid:
    columns = (
        Column(header="EXAMPLE", shrinks=True),
        Column(header="LABEL", shrinks=True),
        Column(header="ANSWER", shrinks=True),
        Column(header="LOSS", align=Align.RIGHT),
        Column(header="CONFIDENCE", align=Align.RIGHT, rank=1),
    )
    shown = rows[:SHOWN] if screen.for_people else rows
    return Grid(columns=columns, rows=tuple(map(_cells, shown)))


def _cells(row: "Mapping[str, Json]") -> tuple[Span | str, ...]:
    is_class = row.get("predicted_value") is None
    label = row.get("label") if is_class else numbers.number(known_number(row.get("target_value")))
    answer = (
        row.get("prediction") or "nan"
        if is_class
        else numbers.number(known_number(row["predicted_value"]))
    )
    wrong = is_class and label != answer
    return (
        str(row["example_id"]),
        numbers.NOTHING if label is None else str(label),
        Span(str(answer), Style.ERROR if wrong else Style.PLAIN),
        numbers.number(known_number(row.get("loss"))),
        numbers.number(known_number(row.get("confidence"))),
    )
