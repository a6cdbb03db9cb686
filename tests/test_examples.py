"""Each example runs as a reader would run it, is found healthy, and names a command that works."""

import ast
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from telemetry.cli.main import run

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
MAX_LINES = 80


def named_commands(example: Path) -> list[str]:
    """Arguments of the commands that the docstring of an example names."""
    doc = ast.get_docstring(ast.parse(example.read_text("utf-8"))) or ""
    return re.findall(r"`telemetry ([^`]+)`", " ".join(doc.split()))


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.no_cover
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_trains_a_healthy_run_and_names_commands_that_work(
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TELEMETRY_STORE", str(tmp_path))
    runpy.run_path(str(example), run_name="__main__")
    said = capsys.readouterr().out
    commands = re.findall(r"now: telemetry (.+)", said) + named_commands(example)
    assert len(commands) >= 2, said
    for command in commands:
        assert run(shlex.split(command)) == 0, command
        assert capsys.readouterr().out
    code = run(["diagnose", example.stem, "--json"])
    diagnosis = json.loads(capsys.readouterr().out)
    assert code == 0, diagnosis["findings"]
    assert "loss_not_decreasing" in diagnosis["passed"] or "gan" in diagnosis["run"]["tags"]


def test_there_are_examples_and_each_fits_on_two_screens() -> None:
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in EXAMPLES}
    assert len(lengths) >= 6
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}
