"""What the process that runs a model says, in words of this one."""

import json
import sys

import pytest

from telemetry.cli import model_child
from telemetry.errors import UsageError

pytestmark = pytest.mark.torch


def test_an_error_of_several_lines_is_said_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model raises may be long; a message of this command is one line."""
    message = json.dumps({"error": "no disk\nin drive A", "exit_code": 2})
    script = f"import sys; print(chr(30) + {message!r}, file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(model_child, "CHILD", (sys.executable, "-c", script))
    with pytest.raises(UsageError, match=r"^no disk in drive A$"):
        model_child.ask({}, "asking")
