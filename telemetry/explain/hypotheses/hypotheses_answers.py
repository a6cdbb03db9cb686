"""Answers to `telemetry hypotheses run`."""

from pathlib import Path

from telemetry.evaluate.hypothesis_testing.file import parse_hypotheses
from telemetry.explain.evaluation.evaluate_answers import evaluation_answer
from telemetry.explain.hypotheses.hypothesis_runs import run_hypotheses
from telemetry.explain.models.subject import Subject
from telemetry.explain.progress import Progress
from telemetry.json_values import Json
from telemetry.requests.hypotheses import HypothesesRequest


def answer(request: HypothesesRequest, subject: Subject, progress: Progress) -> dict[str, Json]:
    """Run the data set of each hypothesis.

    Raises:
        UsageError: a definition is wrong, or a data set is.
    """
    hypotheses = parse_hypotheses(request.definitions, request.place)
    found = run_hypotheses(
        subject,
        hypotheses,
        run=Path(request.run),
        batch=request.batch,
        limit=request.limit,
        progress=progress,
    )
    return {"evaluations": [evaluation_answer(evaluation) for evaluation in found]}
