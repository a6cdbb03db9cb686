"""Answers to `telemetry evaluate`."""

from collections.abc import Mapping
from pathlib import Path

from telemetry.explain.evaluation.evaluation import Evaluation, evaluate, write_evaluation
from telemetry.explain.models.subject import Subject
from telemetry.explain.progress import Progress
from telemetry.json_values import Json
from telemetry.requests.evaluate import EvaluateRequest

WORST = 10  # examples of an answer


def answer(request: EvaluateRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Evaluate the weights of the subject, or each of the files that are named.

    Raises:
        UsageError: see `evaluate`.
    """
    key, found = request.source.state_key, list[Json]()
    for path in request.checkpoints:  # one after the other: all are loaded into the same module
        found.append(_evaluated(subject.with_weights(Path(path), state_key=key), request, progress))
    return {"evaluations": found or [_evaluated(subject, request, progress)]}


def _evaluated(subject: Subject, request: EvaluateRequest, progress: Progress) -> dict[str, Json]:
    evaluation = evaluate(subject, batch=request.batch, limit=request.limit, progress=progress)
    is_new = request.run is not None and write_evaluation(Path(request.run), evaluation)
    return {**evaluation_answer(evaluation), "new": is_new}


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
        "random": evaluation.is_random,
        "not_finite": evaluation.n_not_finite,
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
