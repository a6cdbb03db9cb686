"""`python -m telemetry.explain`: one request on standard input, one answer on standard output.

Progress and errors are marked lines of JSON on standard error: `{"done", "of"}`, `{"error",
"exit_code"}`. What the user's code prints is moved there, too, without a mark.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Protocol, TypeVar

from telemetry import json_values
from telemetry.cv_request import CrossValidateRequest
from telemetry.errors import TelemetryError, UsageError
from telemetry.evaluate.hypothesis_file import parse_hypotheses
from telemetry.evaluate.stored_hypotheses import keep_definitions
from telemetry.explain.answers import (
    attribution_answer,
    evaluation_answer,
    picture_of,
    row_of,
)
from telemetry.explain.attribute import Attribution, Settings, attribute
from telemetry.explain.coverage_answers import answer_coverage
from telemetry.explain.cross_validation_answers import answer_cross_validation
from telemetry.explain.dream_answers import answer_dream
from telemetry.explain.entry_points import application_path
from telemetry.explain.evaluation import Progress, evaluate
from telemetry.explain.feature_answers import answer_features
from telemetry.explain.perturbation_answers import answer_perturb
from telemetry.explain.reduction_answers import answer_reduce
from telemetry.explain.results import write_evaluation, write_image
from telemetry.explain.run_hypotheses import evaluations_of
from telemetry.explain.subject import Subject, load_source
from telemetry.explain.weight_answers import answer_weights
from telemetry.explain_request import (
    MESSAGE_MARK,
    AttributeRequest,
    CoverageRequest,
    EvaluateRequest,
    HypothesesRequest,
    ModelSource,
    PerturbRequest,
    ReduceRequest,
)
from telemetry.feature_requests import DreamRequest, FeaturesRequest, WeightsRequest
from telemetry.json_values import Json
from telemetry.store.results import append_once


class Question(Protocol):
    """A request about the subject that it names."""

    @property
    def source(self) -> ModelSource:
        """Model, weights and examples."""
        ...

    @property
    def run(self) -> str | None:
        """Folder of the run that keeps the results."""
        ...


R = TypeVar("R", bound=Question)
PARENT_POLL_S = 1.0


def main() -> int:
    """Answer one request; the exit code is that of the error, or 0."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
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
    answer = _verbs().get(str(verb))
    if answer is None:
        raise UsageError(f"there is no verb {verb!r}.")
    return answer(document)


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
    return {**evaluation_answer(evaluation), "new": is_new}


def _run_hypotheses(request: HypothesesRequest) -> dict[str, Json]:
    hypotheses = parse_hypotheses(request.definitions, request.place)
    with application_path(Path(request.source.app_dir)):
        found = list(
            evaluations_of(
                load_source(request.source),
                hypotheses,
                batch=request.batch,
                limit=request.limit,
                progress=_progress,
            )
        )
    # Nothing is kept before everything has run: a data set may turn out to be wrong.
    run = Path(request.run)
    for evaluation in found:
        write_evaluation(run, evaluation)
    keep_definitions(run, hypotheses)
    return {"evaluations": [evaluation_answer(evaluation) for evaluation in found]}


def _attribute(request: AttributeRequest) -> dict[str, Json]:
    settings = Settings(
        method=request.method,
        segments=request.segments,
        baseline=request.baseline,
        samples=request.samples,
        seed=request.seed,
        batch=request.batch,
        check=request.check,
        embedding=request.embedding,
    )
    found: list[Json] = []
    with application_path(Path(request.source.app_dir)):
        subject = load_source(request.source)
        for done, example in enumerate(request.examples):
            _progress(done, len(request.examples))
            attribution = attribute(subject, example, request.target, settings)
            found.append(_kept(attribution, subject, request.run))
    return {"attributions": found, "run": request.run}


def _kept(attribution: Attribution, subject: Subject, run: str | None) -> dict[str, Json]:
    """The answer, kept with its picture in a run if there is one."""
    path = None
    if run is not None:
        picture = picture_of(attribution)
        if picture is not None:
            path = write_image(Path(run), f"{attribution.id}.png", picture)
        row = row_of(attribution, subject, path)
        append_once(Path(run), "attributions", [row], identity="attribution_id")
    return {**attribution_answer(attribution, subject), "image": path}


def _verbs() -> dict[str, Callable[[Mapping[str, Json]], dict[str, Json]]]:
    """What answers each verb."""
    return {
        "evaluate": lambda said: _evaluate(EvaluateRequest.of(said)),
        "hypotheses.run": lambda said: _run_hypotheses(HypothesesRequest.of(said)),
        "cv.run": lambda said: answer_cross_validation(CrossValidateRequest.of(said), _progress),
        "explain.input": lambda said: _attribute(AttributeRequest.of(said)),
        "explain.perturb": lambda said: _about(PerturbRequest.of(said), answer_perturb),
        "explain.reduce": lambda said: _about(ReduceRequest.of(said), answer_reduce),
        "explain.coverage": lambda said: _about(CoverageRequest.of(said), answer_coverage),
        "explain.dream": lambda said: _about(DreamRequest.of(said), answer_dream),
        "explain.features": lambda said: _about(FeaturesRequest.of(said), answer_features),
        "explain.weights": lambda said: _about(WeightsRequest.of(said), answer_weights),
    }


def _about(
    request: R, answer: Callable[[R, Subject, Progress], dict[str, Json]]
) -> dict[str, Json]:
    """The answer to a question about the subject that the request names."""
    with application_path(Path(request.source.app_dir)):
        return {**answer(request, load_source(request.source), _progress), "run": request.run}


def _end_with(parent: int) -> None:
    """End this process soon after the command that started it, even if that was killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(1)


def _progress(done: int, of: int) -> None:
    _tell({"done": done, "of": of})


def _tell(message: Mapping[str, Json]) -> None:
    sys.stderr.write(MESSAGE_MARK + json_values.dumps(message) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
