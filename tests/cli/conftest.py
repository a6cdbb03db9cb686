"""Runs command lines in this process: to a pipe, or to a terminal of a given width."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from command_line import Done, Telemetry
from example_store import build_store
from synthetic import START

from telemetry.cli import main, render
from telemetry.cli.commands import runs as runs_command


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


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example store, built once; tests get copies, for commands keep findings in it."""
    return build_store(tmp_path_factory.mktemp("example") / "telemetry-runs")


@pytest.fixture
def example(store: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example store at the default place, a day after its first run."""
    shutil.copytree(template, store)
    monkeypatch.setattr(runs_command, "now", lambda: START + timedelta(days=1))
    return store


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
