"""Runs command lines in this process: to a pipe, or to a terminal of a given width."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done, Telemetry

from telemetry.cli import main, render


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TELEMETRY_STORE", "NO_COLOR", "LC_ALL", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A relative store, so that screens do not depend on where the test ran."""
    monkeypatch.chdir(tmp_path)
    return Path("telemetry-runs")


@pytest.fixture
def telemetry(capsys: pytest.CaptureFixture[str]) -> Telemetry:
    """`telemetry("runs", "--all")`: the exit code and what was written."""

    def call(*arguments: object) -> Done:
        code = main.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`terminal(80)`: from now on stdout is a terminal of that width."""

    def become(width: int) -> None:
        monkeypatch.setattr(render, "is_terminal", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))

    return become
