"""Answers to `telemetry explain input`: sentence, JSON, rows, picture."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from telemetry import json_values
from telemetry.explain.answers import check_json, thinned
from telemetry.explain.attribution import Attribution, Changed, Comparison
from telemetry.explain.colours import Floats, hexadecimal, signed_colours, signed_scale
from telemetry.explain.draw import map_of
from telemetry.explain.evaluation import Progress
from telemetry.explain.examples import IMAGE_DIMENSIONS, Example
from telemetry.explain.input_attribution import attribute
from telemetry.explain.input_files import read_example
from telemetry.explain.part_pictures import Valued, image_png, table_png, text_png
from telemetry.explain.question import examples_of
from telemetry.explain.results import Keeper
from telemetry.explain.subject import Subject
from telemetry.explain_request import AttributeRequest
from telemetry.json_values import Json

SHOWN_SEGMENTS = 10


def answer_input(
    request: AttributeRequest, subject: Subject, progress: Progress
) -> dict[str, Json]:
    """Attribute the answers to some examples, and keep what is found.

    Raises:
        UsageError: see `attribute` and `read_input`.
    """
    asked = _asked(request, subject)
    keeper = Keeper.of(request.keep)
    found: list[Json] = []
    for place, (file, example) in enumerate(asked):
        progress(place, len(asked))
        attribution = attribute(
            subject,
            example,
            request.target,
            method=request.method,
            segments=request.segments,
            baseline=request.baseline,
            samples=request.samples,
            compare=request.compare,
            seed=request.seed,
            batch=request.batch,
            check=request.check,
            embedding=request.embedding,
        )
        image = keeper.image(attribution.id, partial(picture_of, attribution))
        rows = [row_of(attribution, subject, image, file)]
        keeper.rows("attributions", rows, identity="attribution_id")
        found.append({**attribution_answer(attribution, subject, file), "image": image})
    return {"attributions": found}


def _asked(request: AttributeRequest, subject: Subject) -> list[tuple[str | None, Example]]:
    """The inputs, each with the name of its file; all are read before one is explained."""
    examples = examples_of(subject)
    return [
        *((None, example) for example in examples.find_all(request.examples)),
        *(
            (Path(file).name, read_example(Path(file), examples, request.label))
            for file in request.files
        ),
    ]


def attribution_answer(
    attribution: Attribution, subject: Subject, file: str | None = None
) -> dict[str, Json]:
    """What `telemetry explain input` shows.

    Args:
        attribution: What was found.
        subject: The model.
        file: Name of the file that the input lies in; None: an example of the data set.
    """
    score = attribution.score
    return {
        "attribution_id": attribution.id,
        "checkpoint": subject.identity,
        "example_id": attribution.example.id,
        "file": file,
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
        "ok": attribution.ok,
        "warnings": list(attribution.warnings),
        "answer": sentence(attribution, file),
        "grid": _grid(attribution),
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


def sentence(attribution: Attribution, file: str | None = None) -> str:
    """The answer in words; an input in a file is called by its name."""
    score, top = attribution.score, attribution.top(1)[0]
    if score.target is None:
        said = f"gets {attribution.prediction}"
        evidence = "of what raises it"
    else:
        said = f'is called "{attribution.prediction}"'
        against = f'against "{score.other_name}"' if score.other_name else "against the others"
        evidence = f'of the evidence for "{score.target_name}" {against}'
    who = file or f"example {attribution.example.id}"
    return (
        f"{who} {said}; {top.segment} holds {100 * top.share:.0f} % {evidence}"
        f"{_verdict(attribution)}."
    )


def _verdict(attribution: Attribution) -> str:
    """What the checks say, as the end of a sentence."""
    failed = [check.meaning for check in attribution.checks if not check.ok]
    if failed:
        return f". But {'; '.join(failed)}"
    was_checked = any(check.name == "randomisation" for check in attribution.checks)
    return "; all checks passed" if was_checked else ""


def row_of(
    attribution: Attribution, subject: Subject, image: str | None, file: str | None = None
) -> dict[str, object]:
    """The row of table `attributions`; the data set of an input in a file is the file."""
    score = attribution.score
    boxes: list[Json] = [list(box) for box in attribution.segments.boxes]
    return {
        "attribution_id": attribution.id,
        "checkpoint": subject.identity,
        "dataset": file or (subject.examples.name if subject.examples else ""),
        "example_id": attribution.example.id,
        "method": attribution.method,
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
        "image_path": image,
        "checks": json_values.dumps([check_json(check) for check in attribution.checks]),
        "ok": attribution.ok,
        "forwards": attribution.forwards,
        "seconds": attribution.seconds,
        "seed": attribution.seed,
        "answer": sentence(attribution, file),
        "written_at": datetime.now(UTC).replace(tzinfo=None),
    }


def picture_of(attribution: Attribution) -> bytes | None:
    """The picture as PNG; None for what is no image, no text and no row."""
    caption, parts = legend(attribution), _valued(attribution)
    if _is_image(attribution):
        image = attribution.example.input.cpu()
        largest = sorted(parts, key=lambda part: -abs(part.value))
        return image_png(_painted(attribution), image, largest, caption, attribution.id)
    if attribution.values.dim() != 1:
        return None
    drawn = text_png if _is_text(attribution) else table_png
    return drawn(parts, caption, attribution.id)


def legend(attribution: Attribution) -> str:
    """What the colours and the signs of the picture mean."""
    score = attribution.score
    against = score.other_name or "the others"
    wrong = _is_wrong(attribution)
    plus, minus = ("orange", "blue") if wrong else ("blue", "orange")
    if score.target is None:
        said = f"{plus} +: raises the answer; {minus} -: lowers it"
    else:
        said = f"{plus} +: for {score.target_name}; {minus} -: for {against}"
    if not _is_image(attribution):
        return said
    return f"{said}; colours end at {signed_scale(_painted(attribution)):.3g} a pixel"


def _valued(attribution: Attribution) -> list[Valued]:
    """The segments in their order."""
    sign = -1 if _is_wrong(attribution) else 1
    is_text = _is_text(attribution)
    boxes = attribution.segments.boxes
    return [
        Valued(
            name=(name.partition(":")[2] or name) if is_text else name,
            place=name.partition(":")[0],
            value=value,
            paint=sign * value,
            box=boxes[place] if boxes else None,
        )
        for place, (name, value) in enumerate(
            zip(attribution.segments.names, attribution.per_segment.tolist(), strict=True)
        )
    ]


def _is_image(attribution: Attribution) -> bool:
    return attribution.values.dim() == IMAGE_DIMENSIONS


def _is_text(attribution: Attribution) -> bool:
    """Whether the parts are tokens, whose names begin with their places."""
    return not attribution.example.input.is_floating_point() and not _is_image(attribution)


def _painted(attribution: Attribution) -> Floats:
    """The map as it is painted: blue always speaks for the truth where the score opposes it."""
    flat = map_of(attribution.values)
    return -flat if _is_wrong(attribution) else flat


def _is_wrong(attribution: Attribution) -> bool:
    """Whether the score speaks for a class that is not the true one."""
    score = attribution.score
    truth = attribution.label
    return None not in {score.target, truth} and score.target_name != truth


def _grid(attribution: Attribution) -> Json:
    """Colours of the map for a terminal; None for no image."""
    if not _is_image(attribution):
        return None
    flat = _painted(attribution)
    return hexadecimal(thinned(signed_colours(flat, signed_scale(flat))))
