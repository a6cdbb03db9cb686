"""Runs a model in a child process: this process never loads torch."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO

from telemetry import json_values
from telemetry.cli.progress import Advance, counted_bar
from telemetry.errors import Inconclusive, TelemetryError, UsageError
from telemetry.explain_request import MESSAGE_MARK
from telemetry.json_values import Json

CHILD = (sys.executable, "-P", "-m", "telemetry.explain")
INSTALL = "pip install 'training-telemetry[explain]'"
ERRORS = {UsageError.exit_code: UsageError, Inconclusive.exit_code: Inconclusive}


def ask(request: Mapping[str, Json], title: str) -> Mapping[str, Json]:
    """The answer to a request, computed by `python -m telemetry.explain`.

    Args:
        request: One of `telemetry.explain_request`, as JSON.
        title: What is being done, for the progress bar.

    Raises:
        UsageError: torch is missing, or the child says what is wrong with the request.
        Inconclusive: as the child says.
        TelemetryError: the child died.
    """
    if importlib.util.find_spec("torch") is None:
        raise UsageError(f"running a model needs torch, not installed; {INSTALL}")
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as question,
        tempfile.TemporaryFile("w+", encoding="utf-8") as answer,
        counted_bar(title) as advance,
    ):
        question.write(json_values.dumps(request))
        question.seek(0)
        _run(question, answer, advance)
        answer.seek(0)
        found: Mapping[str, Json] = json.load(answer)
    return found


def _run(question: IO[str], answer: IO[str], advance: Advance) -> None:
    """Run the child to its end; it never outlives the command, not even after Ctrl-C."""
    last = "no message"
    child = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
        CHILD,
        stdin=question,
        stdout=answer,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        for line in child.stderr or ():
            if not line.startswith(MESSAGE_MARK):
                last = line.strip() or last  # the user's code, or Python's own last words
                continue
            message = json.loads(line.removeprefix(MESSAGE_MARK))
            if "error" in message:
                raise ERRORS.get(message["exit_code"], TelemetryError)(message["error"])
            advance(message["done"], message["of"])
        if child.wait() != 0:
            raise TelemetryError(
                f"the process that ran the model ended with {child.returncode}: {last}"
            )
    finally:
        child.terminate()
        child.communicate()
