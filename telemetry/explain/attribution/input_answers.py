"""Answers to `telemetry explain input`: sentence, JSON, rows, picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from telemetry import json_values
from telemetry.errors import UsageError
from telemetry.explain.attribution.answered_before import answered_before
from telemetry.explain.attribution.attribution import Attribution, Changed, Comparison, Part
from telemetry.explain.attribution.input_attribution import answered, identity
from telemetry.explain.attribution.pictures import grid, legend, marks, picture, texts
from telemetry.explain.attribution.question import AttributionQuestion, ask
from telemetry.explain.attribution.remembered import remember
from telemetry.explain.attribution.score import ScoreKind
from telemetry.explain.attribution.verification import expected_forwards
from telemetry.explain.evaluation.evaluation import evaluate, write_evaluation
from telemetry.explain.inputs.columns import Value
from telemetry.explain.inputs.examples import Example
from telemetry.explain.inputs.input_files import read_example
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.progress import Progress, TimeUp, tell
from telemetry.explain.results.check import check_json, method_check_json
from telemetry.explain.results.keeper import Keeper
from telemetry.explain.results.libraries import libraries_text
from telemetry.explain.results.result import Files, ResultFormat, judged_columns
from telemetry.explain.results.shapes import fits
from telemetry.json_values import Json
from telemetry.requests.explain.input import KIND, WRONG, InputRequest

SHOWN_SEGMENTS = 10
SHAPE = "attribution"  # of what is told, in `schemas/json/explain.json`
SAME_SCORE = 1e-4  # of a score, by which another batch or machine may miss it
MINUTE_S = 60.0


def answer(request: InputRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Attribute the answers to some examples, and keep what is found.

    Raises:
        UsageError: see `attribute` and `read_input`.
    """
    asked, keeper = _asked(request, subject, progress), Keeper.of(request.keep)
    if keeper.run is not None and not request.again:
        remember(subject, keeper.run, request.settings.method)
    found: list[Json] = []
    for place, example in enumerate(asked):  # each is kept before the next is computed
        inner = _within(place, len(asked), progress)
        try:
            found.append(_told(request, subject, example, keeper, inner))
        except TimeUp:
            if not found:
                raise
            tell(note=f"the time was up after {len(found)} of {len(asked)} inputs")
            break
    return {KIND.key: found}


def _told(
    request: InputRequest, subject: Subject, example: Example, keeper: Keeper, progress: Progress
) -> dict[str, Json]:
    """What is told of one input: what was told before, where the same was asked."""
    with subject.running(gradient=True):
        question = ask(subject, example, request.wanted, request.settings)
        known = None if request.again else keeper.known(identity(question))
        if known is not None and fits(known, SHAPE) and _says_the_same(known, question):
            return {**known, "recalled": True}
        tell(note=_expectation(question))
        found = answered(question, progress, lambda first: tell(first=document(first, {})))
    told = FORMAT.kept(found, keeper)
    keeper.document(found.id, told)
    return told


def _says_the_same(known: Mapping[str, Json], question: AttributionQuestion) -> bool:
    """Whether the model still gives the score that an answer explained: its code may be another."""
    score = known.get("score")
    before = score.get("input") if isinstance(score, Mapping) else None
    now = float(question.score.of(question.output)[0])
    if not isinstance(before, int | float):
        return False
    return math.isclose(float(before), now, rel_tol=SAME_SCORE, abs_tol=SAME_SCORE)


def _expectation(question: AttributionQuestion) -> str:
    """About how long it will take, before it does."""
    first, whole = expected_forwards(question)
    until_first, until_all = (count * question.pace_s for count in (first, whole))
    return (
        f"about {whole:,} forward passes, {_time(until_all)}; the first answer after "
        f"{_time(until_first)}"
    )


def _time(seconds: float) -> str:
    if seconds >= MINUTE_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{max(seconds, 1):.0f} s"


def _within(place: int, of: int, progress: Progress) -> Progress:
    """Progress over several inputs, from that of one."""
    return lambda done, steps: progress(place * steps + done, of * steps)


def _asked(request: InputRequest, subject: Subject, progress: Progress) -> list[Example]:
    """The inputs; all are read before one is explained."""
    examples = examples_of(subject)
    if request.worst is not None:
        return _worst(request, subject, progress)
    files = (read_example(Path(file), examples, request.label) for file in request.files)
    return [*examples.find_all(request.examples), *files]


def _worst(request: InputRequest, subject: Subject, progress: Progress) -> list[Example]:
    """The examples of the largest loss; where a wrong answer is asked about, of these.

    Answers of the same weights to the same inputs that the run has are not computed again.

    Raises:
        UsageError: no answer is wrong.
    """
    examples, run = examples_of(subject), request.keep.run
    if run is not None and request.limit is None and not request.again:
        rows = answered_before(Path(run), subject)
        found = None if rows is None else _unchanged(_chosen(request, rows), subject)
        if found:
            return found
    batch = request.settings.batch
    evaluation = evaluate(subject, batch=batch, limit=request.limit, progress=progress)
    worst = _chosen(request, evaluation.worst(len(evaluation.rows)))
    if not worst:
        raise UsageError(
            f"all {len(evaluation.rows)} examples of {evaluation.dataset} are answered "
            "correctly; use --target pred."
        )
    if run is not None and request.limit is None:
        write_evaluation(Path(run), evaluation)
    return examples.find_all([str(row["example_id"]) for row in worst])


def _chosen(
    request: InputRequest, rows: Sequence[Mapping[str, object]]
) -> list[Mapping[str, object]]:
    is_wanted = [row for row in rows if request.wanted != WRONG or row.get("correct") is not True]
    return is_wanted[: request.worst]


def _unchanged(rows: Sequence[Mapping[str, object]], subject: Subject) -> list[Example] | None:
    """The examples of rows; None: one has another input now, or is gone."""
    try:
        found = examples_of(subject).find_all([str(row["example_id"]) for row in rows])
    except UsageError:
        return None
    same = (one.digest == row["input_digest"] for one, row in zip(found, rows, strict=True))
    return found if all(same) else None


def document(attribution: Attribution, files: Files) -> dict[str, Json]:
    """What `telemetry explain input` shows."""
    score = attribution.score
    return {
        "attribution_id": attribution.id,
        "checkpoint": attribution.origin.checkpoint,
        "example_id": attribution.example.id,
        "file": attribution.example.file,
        "label": attribution.label,
        "prediction": attribution.prediction,
        "score": {
            "kind": score.kind,
            "target": score.target_name,
            "other": score.other_name,
            "input": attribution.score_input,
            "baseline": attribution.score_baseline,
        },
        "method": attribution.method,
        "library": libraries_text(attribution.found.libraries),
        "params": dict(attribution.params),
        "baselines": list(attribution.baselines),
        "seed": attribution.seed,
        "top": [
            {
                "segment": part.segment,
                "value": part.value,
                "share": part.share,
                "box": None if part.box is None else list(part.box),
                "std": part.std,
                "by_baseline": dict(part.by_baseline),
                "unstable": part.is_unstable,
                "given": None if part.given is None else asdict(part.given),
            }
            for part in attribution.top(SHOWN_SEGMENTS)
        ],
        "compared": _compared(attribution.compared),
        "changed": _changed(attribution.changed),
        "phrase": None if attribution.phrase is None else asdict(attribution.phrase),
        "checks": [check_json(check) for check in attribution.checks],
        "method_check": method_check_json(attribution.method_check),
        "ok": attribution.ok,
        "warnings": list(attribution.warnings),
        "answer": sentence(attribution),
        "legend": legend(attribution),
        "grid": grid(attribution),
        "marks": marks(attribution),
        "texts": [line.to_json() for line in texts(attribution)],
        "image": files.get("image"),
        "array": files.get("array"),
        "recalled": False,
        "forwards": attribution.forwards,
        "seconds": attribution.seconds,
    }


def _compared(compared: Comparison | None) -> Json:
    if compared is None:
        return None
    return {"method": compared.method, "best": compared.best, "agrees": compared.agrees}


def _changed(changed: tuple[Changed, ...] | None) -> Json:
    if changed is None:
        return None
    return [
        {"segment": one.segment, "prediction": one.prediction, "share": one.share}
        for one in changed
    ]


def sentence(attribution: Attribution) -> str:
    """The answer in words; an input in a file is called by its name."""
    score, top = attribution.score, attribution.top(1)[0]
    if score.target is None:
        said = f"gets {float(attribution.prediction):.4g}{_distance(attribution)}"
        evidence = f"of what {'lowers' if score.sign < 0 else 'raises'} it"
    else:
        said = f'is called "{attribution.prediction}"'
        against = f'against "{score.other_name}"' if score.other_name else "against the others"
        evidence = f'of the evidence for "{score.target_name}" {against}'
    who = attribution.example.file or f"example {attribution.example.id}"
    holds = (
        f"{_named(top)} carries {100 * top.share:.0f} %" if top.value > 0 else "no part carries any"
    )
    return f"{who} {said}; {holds} {evidence}{_together(attribution)}{_verdict(attribution)}."


def _named(part: Part) -> str:
    """A part; a column with its value, its unit, and what is usual."""
    given = part.given
    if given is None:
        return part.segment
    unit = f" {given.unit}" if given.unit else ""
    usual = "" if given.reference is None else f" (reference {_shown(given.reference)})"
    name = f"column {part.segment}" if part.segment.isdigit() else part.segment
    return f"{name} = {_shown(given.value)}{unit}{usual}"


def _shown(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _together(attribution: Attribution) -> str:
    """What a phrase of a text does, where it does more than its tokens."""
    phrase = attribution.phrase
    if phrase is None:
        return ""
    return (
        f"; hiding {phrase.name} together lowers the score by {phrase.value:.2g}, any of its "
        f"tokens alone by {max(phrase.single, 0):.2g} at most"
    )


def _distance(attribution: Attribution) -> str:
    """How far a regression is from the truth, where that is asked about."""
    score = attribution.score
    if score.kind is not ScoreKind.RESIDUAL:
        return ""
    side = "below" if score.sign < 0 else "above"
    return f", {attribution.score_input:.4g} {side} the true {score.offset:.4g}"


def _verdict(attribution: Attribution) -> str:
    """What the checks say, as the end of a sentence."""
    failed = [check.meaning for check in attribution.checks if not check.ok]
    if failed:
        return f". But {'; '.join(failed)}"
    was_checked = attribution.params["all_checks"] is True and attribution.checks
    return "; all checks passed" if was_checked else ""


def rows_of(attribution: Attribution, files: Files) -> list[dict[str, object]]:
    """The row of table `attributions`; the data set of an input in a file is the file."""
    score = attribution.score
    boxes: list[Json] = [list(box) for box in attribution.segments.boxes]
    return [
        {
            "attribution_id": attribution.id,
            "dataset": attribution.example.file or attribution.origin.dataset,
            "example_id": attribution.example.id,
            "method": attribution.method,
            "library": libraries_text(attribution.found.libraries),
            "params": json_values.dumps(dict(attribution.params)),
            "score_kind": score.kind,
            "target": None if score.target is None else score.target_name,
            "other": score.other_name,
            "label": attribution.label,
            "prediction": attribution.prediction,
            "score_input": attribution.score_input,
            "score_baseline": attribution.score_baseline,
            "baseline": "+".join(attribution.baselines),
            "segment_names": json_values.dumps(list(attribution.segments.names)),
            "segment_values": json_values.dumps(attribution.per_segment.tolist()),
            "baseline_values": json_values.dumps(
                {name: values.tolist() for name, values in attribution.found.by_baseline.items()}
            ),
            "segment_columns": json_values.dumps([asdict(one) for one in attribution.given])
            if attribution.given
            else None,
            "segment_boxes": json_values.dumps(boxes) if boxes else None,
            "array_path": files.get("array"),
            "image_path": files.get("image"),
            "method_check": _method_check(attribution),
            "forwards": attribution.forwards,
            "seconds": attribution.seconds,
            "seed": attribution.seed,
            **judged_columns(attribution, sentence(attribution)),
        }
    ]


def _method_check(attribution: Attribution) -> str | None:
    found = method_check_json(attribution.method_check)
    return None if found is None else json_values.dumps(found)


def _kept(attribution: Attribution, keeper: Keeper) -> Files:
    found: dict[str, str | None] = {
        "image": keeper.image(attribution.id, partial(picture, attribution))
    }
    if attribution.found.of_elements:  # else the values of the segments say all
        found["array"] = keeper.array(attribution.id, attribution.values.float().numpy())
    return found


FORMAT: ResultFormat[Attribution] = ResultFormat(
    kind=KIND,
    picture=picture,
    files=_kept,
    document=document,
    rows=rows_of,
)
