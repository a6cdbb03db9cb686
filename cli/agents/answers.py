"""What a command line answers to an agent: its document and its warnings, or its error."""

import json
from dataclasses import dataclass

from telemetry.json_values import Json
from telemetry.processes import ending

ANSWERED = frozenset({0, 1, 3})  # clean, findings, inconclusive; 2 is an error
ERROR_MARK, WARNING_MARK = "telemetry: error: ", "telemetry: warning: "
MOST_BYTES = 4 * 1024 * 1024  # of a document; more fills the memory of any agent


class Refused(Exception):  # noqa: N818 - named after what the agent sees
    """The call has no result; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A document in the published schema, and what the terminal was warned of."""

    document: dict[str, Json]
    warnings: tuple[str, ...]


def answer(code: int, out: bytes, err: bytes) -> Answer:
    """What a command said.

    Args:
        code: Its exit code.
        out: On stdout.
        err: On stderr.

    Raises:
        Refused: it ended with an error, or said too much.
    """
    if len(out) > MOST_BYTES:
        raise Refused(
            f"the answer has more than {MOST_BYTES // 1024 // 1024} MB; ask for fewer rows, "
            "columns or runs."
        )
    said = err.decode("utf-8", errors="replace")
    document = _document(out) if code in ANSWERED else None
    if document is None:
        raise Refused(_error(code, said))
    warnings = [
        line.removeprefix(WARNING_MARK)
        for line in said.splitlines()
        if line.startswith(WARNING_MARK)
    ]
    return Answer(document=document, warnings=tuple(warnings))


def _document(out: bytes) -> dict[str, Json] | None:
    try:
        found = json.loads(out)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _error(code: int, said: str) -> str:
    """The message of the command line, with the hint below it."""
    _, mark, message = said.partition(ERROR_MARK)
    if mark:
        return message.strip()
    last = (said.strip().splitlines() or ["none"])[-1]
    return f"telemetry {ending(code)}; its last output: {last}"
