"""Answers to `telemetry explain input`: sentence, JSON, rows, picture."""

from functools import partial
from pathlib import Path

from telemetry import json_values
from telemetry.errors import UsageError
from telemetry.explain.attribution.attribution import Attribution, Changed, Comparison
from telemetry.explain.attribution.input_attribution import attributed
from telemetry.explain.attribution.pictures import grid, legend, marks, picture, texts
from telemetry.explain.attribution.score import ScoreKind
from telemetry.explain.evaluation.evaluation import evaluate
from telemetry.explain.inputs.examples import Example
from telemetry.explain.inputs.input_files import read_example
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import check_json, method_check_json
from telemetry.explain.results.keeper import Keeper
from telemetry.explain.results.libraries import libraries_text
from telemetry.explain.results.result import Files, ResultFormat, judged_columns
from telemetry.json_values import Json
from telemetry.requests.explain.input import KIND, WRONG, InputRequest

SHOWN_SEGMENTS = 10


def answer(request: InputRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Attribute the answers to some examples, and keep what is found.

    Raises:
        UsageError: see `attribute` and `read_input`.
    """
    asked = _asked(request, subject, progress)
    found = (
        attributed(
            subject,
            example,
            request.wanted,
            request.settings,
            _within(place, len(asked), progress),
        )
        for place, example in enumerate(asked)
    )
    return FORMAT.answers(found, request.keep)  # each is kept before the next is computed


def _within(place: int, of: int, progress: Progress) -> Progress:
    """Progress over several inputs, from that of one."""
    return lambda done, steps: progress(place * steps + done, of * steps)


def _asked(request: InputRequest, subject: Subject, progress: Progress) -> list[Example]:
    """The inputs; all are read before one is explained."""
    examples = examples_of(subject)
    files = (read_example(Path(file), examples, request.label) for file in request.files)
    names = request.examples if request.worst is None else _worst(request, subject, progress)
    return [*examples.find_all(names), *files]


def _worst(request: InputRequest, subject: Subject, progress: Progress) -> list[str]:
    """Ids of the examples of the largest loss; where a wrong answer is asked about, of these.

    Raises:
        UsageError: no answer is wrong.
    """
    batch = request.settings.batch
    evaluation = evaluate(subject, batch=batch, limit=request.limit, progress=progress)
    worst = evaluation.worst(len(evaluation.rows))
    if request.wanted == WRONG:
        worst = [row for row in worst if row.get("correct") is not True]
    if not worst:
        raise UsageError(
            f"all {len(evaluation.rows)} examples of {evaluation.dataset} are answered "
            "correctly; use --target pred."
        )
    return [str(row["example_id"]) for row in worst[: request.worst]]


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
            }
            for part in attribution.top(SHOWN_SEGMENTS)
        ],
        "compared": _compared(attribution.compared),
        "changed": _changed(attribution.changed),
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
        f"{top.segment} carries {100 * top.share:.0f} %" if top.value > 0 else "no part carries any"
    )
    return f"{who} {said}; {holds} {evidence}{_verdict(attribution)}."


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
    was_checked = attribution.params["all_checks"] is True
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
