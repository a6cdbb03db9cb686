"""Each example runs as a reader would run it, is found healthy, and names a command that works."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from telemetry.cli.main import run

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
MAX_LINES = 80


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_trains_a_healthy_run_and_names_a_command_that_works(
    example: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TELEMETRY_STORE", str(tmp_path))
    runpy.run_path(str(example), run_name="__main__")
    said = capsys.readouterr().out
    named = re.search(r"now: telemetry (.+)", said)
    assert named is not None, said
    assert run(shlex.split(named[1])) == 0
    assert capsys.readouterr().out
    code = run(["diagnose", example.stem, "--json"])
    diagnosis = json.loads(capsys.readouterr().out)
    assert code == 0, diagnosis["findings"]
    assert "loss_not_decreasing" in diagnosis["passed"] or "gan" in diagnosis["run"]["tags"]


def test_there_are_examples_and_each_fits_on_two_screens() -> None:
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in EXAMPLES}
    assert len(lengths) >= 6
    assert {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_command_in_an_examples_docstring_is_a_verb(example: Path) -> None:
    commands = re.findall(r"`telemetry (\w+)", example.read_text("utf-8"))
    assert commands
    for verb in commands:
        assert run([verb, "--help"]) == 0
