"""Answers of `python -m telemetry.explain` as JSON, rows and pictures."""

from collections.abc import Mapping
from datetime import UTC, datetime

from telemetry import json_values
from telemetry.explain.attribute import Attribution
from telemetry.explain.checks import Check
from telemetry.explain.colours import Bytes, Floats, hexadecimal, signed_colours, signed_scale
from telemetry.explain.draw import attribution_png, map_of
from telemetry.explain.evaluation import Evaluation
from telemetry.explain.segments import IMAGE_DIMENSIONS
from telemetry.explain.subject import Subject
from telemetry.json_values import Json

WORST = 10  # examples of an answer
SHOWN_SEGMENTS = 10
GRID_SIDE = 64  # pixels of a picture on a terminal


def evaluation_answer(evaluation: Evaluation) -> dict[str, Json]:
    """What `telemetry evaluate` shows."""
    return {
        "eval_id": evaluation.id,
        "checkpoint": evaluation.checkpoint,
        "step": evaluation.step,
        "dataset": evaluation.dataset,
        "examples": len(evaluation.rows),
        "accuracy": evaluation.accuracy,
        "loss": evaluation.loss,
        "probabilities": evaluation.are_probabilities,
        "confident_errors": len(evaluation.confident_errors()),
        "worst": [_shown(row) for row in evaluation.worst(WORST)],
    }


def _shown(row: Mapping[str, object]) -> dict[str, Json]:
    names = ("example_id", "label", "prediction", "target_value", "predicted_value", "loss")
    found: dict[str, Json] = {}
    for name in (*names, "confidence"):
        value = row.get(name)
        found[name] = value if isinstance(value, str | int | float) else None
    return found


def attribution_answer(attribution: Attribution, subject: Subject) -> dict[str, Json]:
    """What `telemetry explain input` shows."""
    score = attribution.score
    return {
        "attribution_id": attribution.id,
        "checkpoint": subject.identity,
        "example_id": attribution.example.id,
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
            }
            for part in attribution.top(SHOWN_SEGMENTS)
        ],
        "checks": [check_json(check) for check in attribution.checks],
        "ok": attribution.ok,
        "warnings": list(attribution.warnings),
        "answer": sentence(attribution),
        "grid": _grid(attribution),
        "forwards": attribution.forwards,
        "seconds": attribution.seconds,
    }


def check_json(check: Check) -> dict[str, Json]:
    """One check of an answer."""
    return {
        "name": check.name,
        "value": check.value,
        "threshold": check.threshold,
        "ok": check.ok,
        "meaning": check.meaning,
    }


def sentence(attribution: Attribution) -> str:
    """The answer in words."""
    score, top = attribution.score, attribution.top(1)[0]
    if score.target is None:
        said = f"gets {attribution.prediction}"
        evidence = "of what raises it"
    else:
        said = f'is called "{attribution.prediction}"'
        against = f'against "{score.other_name}"' if score.other_name else "against the others"
        evidence = f'of the evidence for "{score.target_name}" {against}'
    return (
        f"example {attribution.example.id} {said}; {top.segment} holds {100 * top.share:.0f} % "
        f"{evidence}."
    )


def row_of(attribution: Attribution, subject: Subject, image: str | None) -> dict[str, object]:
    """The row of table `attributions`."""
    score = attribution.score
    checks: list[Json] = [
        {"name": c.name, "value": c.value, "threshold": c.threshold, "ok": c.ok}
        for c in attribution.checks
    ]
    boxes: list[Json] = [list(box) for box in attribution.segments.boxes]
    return {
        "attribution_id": attribution.id,
        "checkpoint": subject.identity,
        "dataset": subject.examples.name if subject.examples else "",
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
        "segment_boxes": json_values.dumps(boxes) if boxes else None,
        "image_path": image,
        "checks": json_values.dumps(checks),
        "ok": attribution.ok,
        "forwards": attribution.forwards,
        "seconds": attribution.seconds,
        "seed": attribution.seed,
        "written_at": datetime.now(UTC).replace(tzinfo=None),
    }


def picture_of(attribution: Attribution) -> bytes | None:
    """The picture as PNG; None for what is no image."""
    if attribution.values.dim() != IMAGE_DIMENSIONS:
        return None
    flat = _towards_truth(attribution)
    score = attribution.score
    against = score.other_name or "the others"
    blue, orange = (
        (against, score.target_name) if _is_wrong(attribution) else (score.target_name, against)
    )
    caption = f"blue: for {blue}; orange: for {orange}; ends at {signed_scale(flat):.3g}"
    return attribution_png(flat, attribution.example.input.cpu(), caption, attribution.id)


def _towards_truth(attribution: Attribution) -> Floats:
    """The map as it is painted: blue always speaks for the truth where the score opposes it."""
    flat = map_of(attribution.values)
    return -flat if _is_wrong(attribution) else flat


def _is_wrong(attribution: Attribution) -> bool:
    """Whether the score speaks for a class that is not the true one."""
    score = attribution.score
    return score.target is not None and score.target_name != attribution.label


def _grid(attribution: Attribution) -> Json:
    """Colours of the map for a terminal; None for no image."""
    if attribution.values.dim() != IMAGE_DIMENSIONS:
        return None
    flat = _towards_truth(attribution)
    return hexadecimal(thinned(signed_colours(flat, signed_scale(flat))))


def thinned(picture: Bytes) -> Bytes:
    """A picture of at most 64 pixels a side, height x width x 3, for a terminal."""
    step = -(-max(picture.shape[:2]) // GRID_SIDE)
    return picture[::step, ::step]
