"""How this process was started, so that its training can be run again."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from telemetry.capture.environment.hidden_values import is_secret, without_secrets
from telemetry.capture.environment.script_arguments import is_option, key_of
from telemetry.errors import UsageError
from telemetry.format.replay import HIDDEN, Replay, script_digest
from telemetry.requests.record import RecordRequest

WORDS_LIMIT = 500
WORD_LIMIT = 4000  # characters


def this_replay() -> Replay | None:
    """The command line of this process; None where no script file runs, or it is too long."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    words = sys.orig_argv[1:]
    if not isinstance(script, str) or "-c" in words[:1] or not sys.executable:
        return None
    path = Path(script).absolute()
    if not path.is_file() or len(words) > WORDS_LIMIT or max(map(len, words)) > WORD_LIMIT:
        return None
    return Replay(
        interpreter=sys.executable,
        words=tuple(_without_secrets(words)),
        script=str(path),
        script_hash=script_digest(path),
        folder=str(Path.cwd()),
        request=_request(),
    )


def _request() -> str:
    """The options of `telemetry record`, without what belongs to the one command."""
    try:
        request = RecordRequest.of(os.environ)
    except UsageError:  # told when Python started
        return ""
    return "" if request is None else request.of_replay().to_variable()


def _without_secrets(words: Sequence[str]) -> list[str]:
    """The words; values of options such as `--api-key`, and what looks like one, are hidden."""
    shown: list[str] = []
    before = ""
    for word in words:
        name, has_value, value = word.partition("=")
        if is_option(word) and has_value and is_secret(key_of(name), value):
            shown.append(f"{name}={HIDDEN}")
        elif before and not is_option(word) and is_secret(key_of(before), word):
            shown.append(HIDDEN)
        else:
            shown.append(without_secrets(word))
        before = word if is_option(word) and not has_value else ""
    return shown
