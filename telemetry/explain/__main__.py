"""`python -m telemetry.explain`: one request on standard input, one answer on standard output.

Progress and errors are marked lines of JSON on standard error: `{"done", "of"}`, `{"error",
"exit_code"}`. What the user's code prints is moved there, too, without a mark.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

from telemetry import json_values
from telemetry.errors import TelemetryError, UsageError
from telemetry.explain.entry_points import application_path
from telemetry.explain.evaluation import Evaluation, evaluate
from telemetry.explain.results import write_evaluation
from telemetry.explain.subject import Subject, load_source
from telemetry.explain_request import MESSAGE_MARK, EvaluateRequest
from telemetry.json_values import Json

WORST = 10  # examples of an answer


def main() -> int:
    """Answer one request; the exit code is that of the error, or 0."""
    answer_stream = sys.stdout
    try:
        document = json.load(sys.stdin)
        with redirect_stdout(sys.stderr):
            answer = answer_to(document)
    except TelemetryError as error:
        _tell({"error": str(error), "exit_code": error.exit_code})
        return error.exit_code
    answer_stream.write(json_values.dumps(answer) + "\n")
    return 0


def answer_to(document: Mapping[str, Json]) -> dict[str, Json]:
    """The answer to a request.

    Raises:
        UsageError: it asks for an unknown verb, or for what cannot be.
    """
    verb = document.get("verb")
    if verb == "evaluate":
        return _evaluate(EvaluateRequest.of(document))
    raise UsageError(f"there is no verb {verb!r}.")


def _evaluate(request: EvaluateRequest) -> dict[str, Json]:
    with application_path(Path(request.source.app_dir)):
        subject = load_source(request.source)
        if request.checkpoints:
            key = request.source.state_key
            answers = [
                _evaluated(subject.with_weights(Path(path), state_key=key), request)
                for path in request.checkpoints
            ]
        else:
            answers = [_evaluated(subject, request)]
    return {"evaluations": answers, "run": request.run}


def _evaluated(subject: Subject, request: EvaluateRequest) -> dict[str, Json]:
    evaluation = evaluate(subject, batch=request.batch, limit=request.limit, progress=_progress)
    is_new = request.run is not None and write_evaluation(Path(request.run), evaluation)
    return {**summary(evaluation), "new": is_new}


def summary(evaluation: Evaluation) -> dict[str, Json]:
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


def _progress(done: int, of: int) -> None:
    _tell({"done": done, "of": of})


def _tell(message: Mapping[str, Json]) -> None:
    sys.stderr.write(MESSAGE_MARK + json_values.dumps(message) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
