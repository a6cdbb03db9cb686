"""`python -m telemetry.explain`: one request on standard input, one answer on standard output.

Progress and errors are marked lines of JSON on standard error: `{"done", "of"}`, `{"error",
"exit_code"}`. What the user's code prints goes there, too, without a mark, by whatever way.
"""

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO, Protocol, cast

from telemetry import json_values
from telemetry.errors import TelemetryError, UsageError
from telemetry.explain.extras import extra_installed
from telemetry.explain.models.entry_points import application_path
from telemetry.explain.models.subject import Subject, load_source
from telemetry.explain.progress import Progress
from telemetry.json_values import Json
from telemetry.requests.cross_validation import CrossValidateRequest
from telemetry.requests.explain import (
    ANSWERS,
    MESSAGE_MARK,
    REQUESTS,
    AttributeRequest,
    CoverageRequest,
    EvaluateRequest,
    HypothesesRequest,
    ModelSource,
    PerturbRequest,
    ReduceRequest,
)
from telemetry.requests.features import DreamRequest, FeaturesRequest, WeightsRequest
from telemetry.requests.values import Request


class Question(Protocol):
    """A request about the subject that it names."""

    @property
    def source(self) -> ModelSource:
        """Model, weights and examples."""
        ...


Answer = Callable[[Question, Subject, Progress], dict[str, Json]]

# What answers each verb. A module is loaded when its verb is asked for: the others would cost time.
VERBS: Mapping[str, tuple[type[Request], str]] = {
    "evaluate": (EvaluateRequest, "evaluation.answers:answer_evaluate"),
    "hypotheses.run": (HypothesesRequest, "hypotheses.answers:answer_hypotheses"),
    "explain.input": (AttributeRequest, "attribution.answers:answer_input"),
    "explain.perturb": (PerturbRequest, "perturbation.answers:answer_perturb"),
    "explain.reduce": (ReduceRequest, "reduction.answers:answer_reduce"),
    "explain.coverage": (CoverageRequest, "training_gaps.answers:answer_coverage"),
    "explain.dream": (DreamRequest, "units.dream_answers:answer_dream"),
    "explain.features": (FeaturesRequest, "units.feature_answers:answer_features"),
    "explain.weights": (WeightsRequest, "units.weight_answers:answer_weights"),
}
TRAINS = "cv.run"
PARENT_POLL_S = 1.0
STDOUT, STDERR = 1, 2  # descriptors


def main() -> int:
    """Answer one request; the exit code is that of the error, or 0."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers, messages = _own_streams()
    try:
        document = json.load(sys.stdin)
        with redirect_stdout(sys.stderr):
            answer = answer_to(document, lambda done, of: _tell(messages, done=done, of=of))
    except TelemetryError as error:
        _tell(messages, error=str(error), exit_code=error.exit_code)
        return error.exit_code
    except SystemExit as error:
        said = f"the code of the model or its data set ended the process: sys.exit({error.code!r})."
        _tell(messages, error=said, exit_code=UsageError.exit_code)
        return UsageError.exit_code
    answers.write(json_values.dumps(answer) + "\n")
    answers.flush()
    return 0


def answer_to(
    document: Mapping[str, Json], progress: Progress = lambda _done, _of: None
) -> dict[str, Json]:
    """The answer to a request, or to each of several, one after the other.

    Args:
        document: One of `telemetry.requests.explain`, as JSON.
        progress: Told how far it is.

    Raises:
        UsageError: it asks for an unknown verb, or for what cannot be.
    """
    if isinstance(several := document.get(REQUESTS), list):
        requests = [one for one in several if isinstance(one, Mapping)]
        places = range(len(requests))
        return {
            ANSWERS: [answer_to(requests[i], _part(progress, i, len(requests))) for i in places]
        }
    verb = str(document.get("verb"))
    if verb == TRAINS:
        from telemetry.explain.folds.answers import (  # noqa: PLC0415 - as in VERBS
            answer_cross_validation,
        )

        return answer_cross_validation(CrossValidateRequest.of(document), progress)
    if verb not in VERBS:
        raise UsageError(f"there is no verb {verb!r}.")
    kind, place = VERBS[verb]
    request = cast("Question", kind.of(document))
    module, _, name = place.partition(":")
    with extra_installed(verb.replace(".", " ")):
        answer: Answer = getattr(importlib.import_module(f"telemetry.explain.{module}"), name)
        with application_path(Path(request.source.app_dir)):
            return answer(request, load_source(request.source), progress)


def _own_streams() -> tuple[IO[str], IO[str]]:
    """For answers and for messages; what anybody else writes to either goes to standard error.

    A library in C writes to the descriptor, and user's code may replace or close `sys.stderr`.
    """
    answers, messages = (
        os.fdopen(os.dup(stream), "w", encoding="utf-8") for stream in (STDOUT, STDERR)
    )
    os.dup2(STDERR, STDOUT)
    return answers, messages


def _part(progress: Progress, place: int, n_requests: int) -> Progress:
    """The progress of one request as a part of that of all."""
    return lambda done, of: progress(place * of + done, n_requests * of)


def _end_with(parent: int) -> None:
    """End this process soon after the command that started it, even if that was killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_S)
    os._exit(1)


def _tell(stream: IO[str], **message: Json) -> None:
    stream.write(MESSAGE_MARK + json_values.dumps(message) + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
