"""What a run keeps of how it was started."""

import sys
from pathlib import Path

import pytest

from telemetry.capture.environment.replay import this_replay
from telemetry.requests.record import AUTO_VARIABLE, RecordRequest

ASKED = RecordRequest(every=7, tags=("a",), asked=True, names_store=True, speaker=3)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (ASKED.to_variable(), RecordRequest(every=7, tags=("a",)).to_variable()),
        ("1", RecordRequest().to_variable()),
        ("0", ""),
        ("nonsense", ""),
    ],
)
def test_the_options_of_the_recording_are_kept(
    variable: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "train.py"
    script.touch()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py"])
    monkeypatch.setenv(AUTO_VARIABLE, variable)
    replay = this_replay()
    assert replay is not None
    assert replay.request == expected
