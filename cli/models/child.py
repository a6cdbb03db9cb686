"""Runs a model in a child process: this process never loads torch."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from telemetry import json_values
from telemetry.cli.output.model_answers import mappings
from telemetry.cli.output.progress import Advance, counted_bar
from telemetry.errors import Inconclusive, TelemetryError, UsageError
from telemetry.json_values import Json
from telemetry.processes import ending
from telemetry.requests.kinds import RequestKind
from telemetry.requests.models import ANSWERS, INSTALL, MESSAGE_MARK, REQUESTS
from telemetry.requests.values import Request

CHILD = (sys.executable, "-P", "-m", "telemetry.explain")
Told = Callable[[Mapping[str, Json]], None]
LATE_S = 5.0  # that a child which knows the time may take to end what it does, at least
LATE_SHARE = 0.25  # of the time it had: whatever slowed it goes on doing so
GRACE_S = 2.0  # from the request to end to the end
ERRORS = {UsageError.exit_code: UsageError, Inconclusive.exit_code: Inconclusive}


class ModelDied(TelemetryError):  # noqa: N818 - named after what the user sees
    """The process that ran the model gave no answer."""


def ask(
    request: Mapping[str, Json],
    title: str,
    timeout_s: float | None = None,
    *,
    told: Told | None = None,
    ends_itself: bool = False,
) -> Mapping[str, Json]:
    """The answer to a request, computed by `python -m telemetry.explain`.

    Args:
        request: One of `telemetry.requests`, as JSON.
        title: What is being done, for the progress bar.
        timeout_s: When to give up; None: never.
        told: Hears what is known before the answer is whole: notes, a first answer, checks.
        ends_itself: Whether the child knows the time, and answers in it with what it has.

    Raises:
        UsageError: torch is missing, or the child says what is wrong with the request.
        Inconclusive: as the child says, or it does not answer in time.
        ModelDied: the child did.
    """
    if importlib.util.find_spec("torch") is None:
        raise UsageError(f"running a model needs torch, which is not installed; {INSTALL}")
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as question,
        tempfile.TemporaryFile("w+", encoding="utf-8") as answer,
        counted_bar(title, at_once=True) as advance,  # torch alone takes a second to load
    ):
        question.write(json_values.dumps(request))
        question.seek(0)
        late_s = max(LATE_S, LATE_SHARE * (timeout_s or 0)) if ends_itself else 0.0
        _run(question, answer, advance, timeout_s, late_s, told)
        answer.seek(0)
        try:
            found: Mapping[str, Json] = json.load(answer)
        except ValueError as error:  # os._exit(0) of the user's code
            raise ModelDied("the process that ran the model ended before it answered.") from error
    return found


def ask_each(
    kind: RequestKind[Request],
    requests: Sequence[Request],
    title: str,
    timeout_s: float | None = None,
) -> list[Mapping[str, Json]]:
    """The answers to several requests of one process; raises as `ask` does."""
    documents: list[Json] = [kind.document(request) for request in requests]
    return mappings(ask({REQUESTS: documents}, title, timeout_s)[ANSWERS])


def _run(
    question: IO[str],
    answer: IO[str],
    advance: Advance,
    timeout_s: float | None,
    late_s: float,
    told: Told | None,
) -> None:
    """Run the child to its end; it never outlives the command, not even after Ctrl-C."""
    last = "none"
    is_late = threading.Event()

    def give_up() -> None:
        is_late.set()
        child.kill()

    child = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
        CHILD,
        stdin=question,
        stdout=answer,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    clock = threading.Timer((timeout_s or 0) + late_s, give_up)
    clock.daemon = True
    try:
        if timeout_s is not None:
            clock.start()
        for line in child.stderr or ():
            said, mark, document = line.partition(MESSAGE_MARK)
            last = said.strip() or last  # the user's code, or Python's own last words
            if mark:
                _hear(json.loads(document), advance, told)
        if child.wait() != 0 and is_late.is_set():
            raise Inconclusive(f"--timeout {timeout_s:g}: no answer after {timeout_s:g} seconds.")
        if child.returncode != 0:
            how = ending(child.returncode)
            raise ModelDied(f"the process that ran the model {how}; its last output: {last}")
    finally:
        clock.cancel()
        _end(child)


def _hear(message: Mapping[str, Json], advance: Advance, told: Told | None) -> None:
    """Pass a message of the child on.

    Raises:
        TelemetryError: it is an error.
    """
    if "error" in message:
        error = " ".join(str(message["error"]).splitlines())  # the user's code may say much
        raise ERRORS.get(int(str(message["exit_code"])), TelemetryError)(error)
    if "done" in message:
        advance(int(str(message["done"])), int(str(message["of"])))
    elif told is not None:
        told(message)


def _end(child: "subprocess.Popen[str]") -> None:
    """End a child, even one that does not listen; its own children may hold the pipe open."""
    child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stderr is not None:
        child.stderr.close()
