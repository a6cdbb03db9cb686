"""Answers to `telemetry explain perturb`: sentence, JSON, rows."""

from functools import partial

from telemetry.explain.models.subject import Subject, examples_of
from telemetry.explain.perturbation.axes import axis_of
from telemetry.explain.perturbation.perturbation import Perturbation, perturb, perturb_all
from telemetry.explain.perturbation.pictures import picture
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import check_json
from telemetry.explain.results.keeper import Keeper
from telemetry.explain.results.result import (
    Files,
    ResultFormat,
    judged_columns,
)
from telemetry.json_values import Json
from telemetry.requests.explain.perturb import KIND, PerturbRequest


def answer(request: PerturbRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Walk every example, or the set, along every axis, and keep what is found.

    Raises:
        UsageError: see `perturb`.
    """
    settings = request.settings
    for axis in request.axes:  # a mistake in the last one is said before the first one runs
        axis_of(axis, examples_of(subject), steps=settings.steps, span=settings.span)
    found: list[Perturbation] = []
    for axis in request.axes:
        if not request.examples:
            found.append(perturb_all(subject, axis, settings, progress, request.group))
        for done, example in enumerate(request.examples):
            progress(done, len(request.examples))
            found.append(perturb(subject, example, axis, settings))
    return FORMAT.answers(found, request.keep)


def document(found: Perturbation, files: Files) -> dict[str, Json]:
    """What `telemetry explain perturb` shows."""
    return {
        "perturbation_id": found.id,
        "checkpoint": found.origin.checkpoint,
        "dataset": found.origin.dataset,
        "example_id": None if found.example is None else found.example.id,
        "where": found.where,
        "label": found.label,
        "prediction": found.neutral.prediction,
        "axis": found.axis.name,
        "unit": found.axis.unit,
        "neutral": found.axis.neutral,
        "n": found.neutral.n,
        "baseline": found.baseline,
        "threshold": found.threshold,
        "turns": [{"right": turn.right, "wrong": turn.wrong} for turn in found.turns],
        "monotone": found.monotone,
        "failing": [list(interval) for interval in found.failing],
        "rows": [
            {
                "value": step.value,
                "prediction": step.prediction,
                "correct": step.right,
                "p_label": step.p_label,
                "margin": step.margin,
                "clipped": step.clipped,
                "accuracy": step.accuracy,
                "ci_low": step.interval[0],
                "ci_high": step.interval[1],
            }
            for step in found.steps
        ],
        "checks": [check_json(check) for check in found.checks],
        "ok": found.ok,
        "warnings": list(found.warnings),
        "answer": sentence(found),
        "image": files.get("image"),
        "seed": found.seed,
        "tolerance": found.tolerance,
        "forwards": found.forwards,
        "seconds": found.seconds,
    }


def sentence(found: Perturbation) -> str:
    """The answer in words."""
    axis = found.axis
    if found.example is None:
        of = f"{found.neutral.n} examples" + (f" where {found.where}" if found.where else "")
        who = f"accuracy on {of}, {100 * found.baseline:.1f} % unchanged,"
        if not found.neutral.right:  # of a column whose middle does harm by itself
            return f"{who} drops by 5 points when every row has {_at(found, axis.neutral)}."
        if not found.turns:
            return f"{who} stays within 5 points {_whole(found)}."
        return f"{who} drops by 5 points at {_both(found)}."
    who = f"example {found.example.id} ({_answer(found, found.label)})"
    if not found.neutral.right:
        called = _answer(found, found.neutral.prediction)
        return f"{who} is answered wrongly, as {called}, even without a change; {_cured(found)}."
    if not found.turns:
        return f"{who} is answered correctly {_whole(found)}."
    return f"{who} is answered wrongly from {_both(found)} on{_again(found)}."


def _both(found: Perturbation) -> str:
    """The values on both sides, the nearest first, each with what the answer becomes."""
    ends = sorted((turn.wrong for turn in found.turns), key=lambda v: abs(v - found.axis.neutral))
    said: list[str] = []
    for end in ends:
        step = found.at(end)
        became = (
            f" ({100 * step.accuracy:.1f} %)"
            if step.prediction is None
            else f" (as {_answer(found, step.prediction)})"
        )
        said.append(f"{_at(found, end) if not said else _number(found, end)}{became}")
    return " and ".join(said)


def _answer(found: Perturbation, answer: str | None) -> str:
    """A class in quotes, a value as it is."""
    return str(answer) if found.tolerance is not None else f'"{answer}"'


def _cured(found: Perturbation) -> str:
    right = [step.value for step in found.steps if step.right]
    if not right:
        return f"no {found.axis.name} from {_span(found)} corrects it"
    nearest = min(right, key=lambda value: abs(value - found.axis.neutral))
    return f"{_at(found, nearest)} corrects it"


def _again(found: Perturbation) -> str:
    return "" if found.monotone else ", and correctly again farther out"


def _whole(found: Perturbation) -> str:
    return f"over all of {found.axis.name}, {_span(found)}"


def _span(found: Perturbation) -> str:
    return f"{_number(found, found.values[0])} to {_number(found, found.values[-1])}"


def _at(found: Perturbation, value: float) -> str:
    return f"{found.axis.name} {_number(found, value)} {found.axis.unit}".rstrip()


def _number(found: Perturbation, value: float) -> str:
    """With a sign where zero means no change."""
    return f"{value:+.4g}" if found.axis.neutral == 0 else f"{value:.4g}"


def rows_of(found: Perturbation, files: Files) -> list[dict[str, object]]:
    """Rows of table `input_perturbations`, one a value."""
    common: dict[str, object] = {
        "perturbation_id": found.id,
        "dataset": found.origin.dataset,
        "example_id": None if found.example is None else found.example.id,
        "condition": found.where,
        "axis": found.axis.name,
        "unit": found.axis.unit,
        "label": found.label,
        "threshold": found.threshold,
        "monotone": found.monotone,
        "seed": found.seed,
        "image_path": files.get("image"),
        **judged_columns(found, sentence(found)),
    }
    return [
        {
            **common,
            "value": step.value,
            "prediction": step.prediction,
            "correct": step.right if found.example is not None else None,
            "p_label": step.p_label,
            "margin": step.margin,
            "clipped_share": step.clipped,
            "n": step.n,
            "accuracy": step.accuracy,
            "ci_low": step.interval[0],
            "ci_high": step.interval[1],
        }
        for step in found.steps
    ]


def _kept(found: Perturbation, keeper: Keeper) -> Files:
    return {"image": keeper.image(found.id, partial(picture, found))}


FORMAT: ResultFormat[Perturbation] = ResultFormat(
    kind=KIND,
    picture=picture,
    files=_kept,
    document=document,
    rows=rows_of,
)
