"""`python -m telemetry.explain`: one request on standard input, one answer on standard output.

Progress and errors are marked lines of JSON on standard error: `{"done", "of"}`, `{"error",
"exit_code"}`. What the user's code prints goes there, too, without a mark, by whatever way.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO, cast

from telemetry import json_values
from telemetry.errors import Inconclusive, TelemetryError, UsageError
from telemetry.explain.answering import answering
from telemetry.explain.extras import extra_installed
from telemetry.explain.models.entry_points import application_path
from telemetry.explain.models.subject import Subject, load_source
from telemetry.explain.progress import Progress, TimeUp, heard
from telemetry.json_values import Json
from telemetry.requests.kinds import requested_kind
from telemetry.requests.models import ANSWERS, MESSAGE_MARK, REQUESTS, ModelRequest
from telemetry.requests.values import Request

# What answers a kind of question; its module is loaded then, for the others would cost time.
Answer = Callable[[ModelRequest, Subject, Progress], dict[str, Json]]
Training = Callable[[Request, Progress], dict[str, Json]]  # of models that the user's code makes

PARENT_POLL_S = 1.0
TIMEOUT = "timeout_s"  # of a request
STDOUT, STDERR = 1, 2  # descriptors


def main() -> int:
    """Answer one request; the exit code is that of the error, or 0."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    answers, messages = _own_streams()
    try:
        document = json.load(sys.stdin)
        with (
            redirect_stdout(sys.stderr),
            heard(lambda message: _tell(messages, **message), seconds=_seconds(document)),
        ):
            answer = answer_to(document, lambda done, of: _tell(messages, done=done, of=of))
    except TelemetryError as error:
        _tell(messages, error=str(error), exit_code=error.exit_code)
        return error.exit_code
    except TimeUp:
        said = f"--timeout {_seconds(document):g}: no answer after {_seconds(document):g} seconds."
        _tell(messages, error=said, exit_code=Inconclusive.exit_code)
        return Inconclusive.exit_code
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
        document: A request of `telemetry.requests`, as JSON, with its verb.
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
    kind = requested_kind(document)
    request = kind.read(document)
    if not isinstance(request, ModelRequest):
        return cast("Training", answering(kind).answer)(request, progress)
    with extra_installed(kind.verb.replace(".", " ")):
        answer = cast("Answer", answering(kind).answer)
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


def _seconds(document: Mapping[str, Json]) -> float | None:
    """How long the answer may take."""
    found = document.get(TIMEOUT)
    return float(found) if isinstance(found, int | float) else None


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
