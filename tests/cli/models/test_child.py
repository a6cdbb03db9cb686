"""What the process that runs a model says, in words of this one."""

import json
import sys
from pathlib import Path

import pytest

from telemetry.cli.models import child as model_child
from telemetry.errors import TelemetryError, UsageError
from telemetry.requests.evaluate import KIND, EvaluateRequest
from telemetry.requests.models import ModelSource

pytestmark = pytest.mark.torch


def test_an_error_of_several_lines_is_said_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model raises may be long; a message of this command is one line."""
    message = json.dumps({"error": "no disk\nin drive A", "exit_code": 2})
    script = f"import sys; print(chr(30) + {message!r}, file=sys.stderr); sys.exit(2)"
    monkeypatch.setattr(model_child, "CHILD", (sys.executable, "-c", script))
    with pytest.raises(UsageError, match=r"^no disk in drive A$"):
        model_child.ask({}, "asking")


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        (
            'sys.stderr.write(\'password? \' + mark + \'{"error": "none", "exit_code": 2}\')',
            "^none$",
        ),
        ("sys.exit(0)", "ended before it answered"),
        ("sys.stderr.write('no disk'); sys.exit(3)", "exit code 3; its last output: no disk"),
    ],
)
def test_an_end_without_an_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, script: str, complaint: str
) -> None:
    whole = f"import sys; mark = chr(30); {script}"
    monkeypatch.setattr(model_child, "CHILD", (sys.executable, "-c", whole))
    with pytest.raises(TelemetryError, match=complaint):
        model_child.ask({}, "asking")


def test_a_child_that_does_not_listen_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        'sys.stderr.write(chr(30) + \'{"error": "none", "exit_code": 2}\\n\');'
        "sys.stderr.flush(); time.sleep(100)"
    )
    monkeypatch.setattr(model_child, "CHILD", (sys.executable, "-c", script))
    monkeypatch.setattr(model_child, "GRACE_S", 0.05)
    with pytest.raises(UsageError, match=r"^none$"):
        model_child.ask({}, "asking")


def test_code_that_leaves_is_an_error_of_the_model(
    tmp_path: Path,
) -> None:
    (tmp_path / "leaving.py").write_text("import sys\ndef build(): sys.exit(0)\n", "utf-8")
    request = EvaluateRequest(
        source=ModelSource(model="leaving:build", dataset="leaving:build", app_dir=str(tmp_path))
    )
    with pytest.raises(UsageError, match=r"ended the process: sys\.exit\(0\)"):
        model_child.ask(KIND.document(request), "asking")


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match=r"needs torch, which is not installed; pip install 'training-tele"
    ):
        model_child.ask({}, "asking")
