"""The command that becomes the script's own process."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from command_line import Telemetry

from telemetry.format.manifest import write_manifest
from telemetry.requests import record
from telemetry.requests.record import AUTO_VARIABLE, START_FILE, RecordRequest
from telemetry.store.store import Store
from telemetry.trials import plan as planning
from telemetry.trials import try_run
from telemetry.trials.plan import NothingToTry
from telemetry.trials.result import Outcome, Tried, Tries

Started = list[tuple[list[str], RecordRequest, str]]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """What would have been started: command line, request and store."""
    found: Started = []

    def execve(program: str, line: list[str], environment: Mapping[str, str]) -> None:
        assert program == sys.executable
        request = RecordRequest.of(environment)
        assert request is not None
        found.append((line[1:], request, environment["TELEMETRY_STORE"]))
        raise SystemExit  # there is no way back from exec

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / START_FILE).touch()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print('trained')\n", "utf-8")
    return found


def test_everything_after_the_script_is_its_own(
    started: Started, telemetry: Telemetry, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        telemetry("record", "train.py", "--every", "7", "--help", "--", "-m", "--store=x")
    assert started == [
        (
            ["train.py", "--every", "7", "--help", "--", "-m", "--store=x"],
            RecordRequest(asked=True),
            str(tmp_path / "telemetry-runs"),
        )
    ]


def test_the_options_are_those_of_the_callback(
    started: Started, telemetry: Telemetry, tmp_path: Path
) -> None:
    options = ["--every", "7", "--project", "p", "--name", "n", "--tag", "a", "--tag", "b"]
    options_of_numbers = ["--total-steps", "90", "--metrics-from-stdout"]
    with pytest.raises(SystemExit):
        telemetry("record", *options, *options_of_numbers, "--store", "s", "-m", "json.tool", "x")
    request = RecordRequest(
        every=7,
        project="p",
        name="n",
        tags=("a", "b"),
        total_steps=90,
        metrics_from_stdout=True,
        asked=True,
        names_store=True,
    )
    assert started == [(["-m", "json.tool", "x"], request, str(tmp_path / "s"))]


def test_a_script_without_a_suffix_is_one_if_python_can_read_it(
    started: Started, telemetry: Telemetry, tmp_path: Path
) -> None:
    (tmp_path / "train").write_text("#!/usr/bin/env python3\nprint(1)\n", "utf-8")
    with pytest.raises(SystemExit):
        telemetry("record", "./train")
    assert started[0][0] == ["./train"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no script was given; name a script, or use -m and a module"),
        (["-m"], "no script was given"),
        (["absent.py"], "absent.py: cannot be read (No such file or directory)"),
        (["."], ". is a folder; name a script in it, or use -m and a package"),
        (["notes.txt"], "notes.txt is not a Python file"),
        (["-m", "no_such_module.train"], "there is no module no_such_module to run"),
        (["--every", "0", "train.py"], "0 is not in the range x>=1"),
        (["--lr", "1", "train.py"], "No such option"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_exit_2(
    arguments: list[str], complaint: str, started: Started, telemetry: Telemetry
) -> None:
    Path("notes.txt").write_text("not python at all\n", "utf-8")
    done = telemetry("record", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert complaint in done.err
    first, *hint = done.err.splitlines()
    assert len(first) < 100
    assert len(hint) <= 1
    assert started == []


def test_an_installation_without_its_start_file_is_told(
    started: Started, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "START_FILE", "absent.pth")
    done = telemetry("record", "train.py")
    assert done.code == 2
    assert "not installed" in done.err
    assert started == []


def test_the_help_fits_on_a_terminal(telemetry: Telemetry) -> None:
    lines = telemetry("record", "--help").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("SCRIPT [ARGUMENTS]..." in line for line in lines)


@pytest.mark.parametrize("text", ["yes", "{}", '{"every": 1, "tags": [], "colour": 2}', "[1]"])
def test_a_variable_that_says_nothing_known_is_an_error(text: str) -> None:
    with pytest.raises(record.UsageError, match=AUTO_VARIABLE):
        RecordRequest.of({AUTO_VARIABLE: text})


def test_the_variable_may_ask_for_nothing_or_for_the_defaults() -> None:
    assert RecordRequest.of({}) is RecordRequest.of({AUTO_VARIABLE: "0"}) is None
    assert RecordRequest.of({AUTO_VARIABLE: "1"}) == RecordRequest()
    request = RecordRequest(every=3, tags=("a",), speaker=7)
    assert RecordRequest.of({AUTO_VARIABLE: request.to_variable()}) == request


class Child:
    """A process that has just recorded the run `base` of the example store."""

    pid = 4321
    code = 0

    def __init__(self, line: list[str], *, env: Mapping[str, str]) -> None:
        assert line[1:] == ["train.py", "--lr", "1"]
        assert RecordRequest.of(env) == RecordRequest(asked=True)
        run = Store.open(env["TELEMETRY_STORE"]).select("base")
        assert run.manifest is not None
        (attempt,) = run.manifest.attempts
        took = replace(attempt, pid=self.pid, process_start=7)
        write_manifest(run.ref.path, replace(run.manifest, attempts=(took,)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self) -> int:
        return self.code


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> type[Child]:
    monkeypatch.setattr("telemetry.cli.commands.record.subprocess.Popen", Child)
    monkeypatch.setattr("telemetry.cli.commands.record.process_start", lambda _: 7)
    return Child


TRY_IT = ("record", "--try", "train.py", "--lr", "1")


@pytest.mark.usefixtures("started", "example", "child")
def test_a_run_is_diagnosed_and_its_remedies_are_tried(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Tried(dose="lr/8", changes="", outcome=Outcome.REFUTED, reason="")
    tries = Tries(tried=(tried,), steps=3, seed_offsets=(0,))
    plans: list[str] = []
    monkeypatch.setattr(planning, "plan_tries", lambda _, run, **__: plans.append(run.name))
    monkeypatch.setattr(try_run, "carry_out", lambda *_, **__: tries)
    done = telemetry(*TRY_IT)
    assert done.code == 3
    assert plans == ["base"]
    assert "replayed bit for bit" in done.out
    assert "no remedy is confirmed" in done.out


@pytest.mark.usefixtures("started", "example", "child")
def test_a_run_without_a_remedy_to_try_says_so(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object, **__: object) -> None:
        raise NothingToTry("no remedy is known for constant_output.")

    monkeypatch.setattr(planning, "plan_tries", nothing)
    done = telemetry(*TRY_IT)
    assert "no remedy is known for constant_output." in done.out
    assert done.code in {0, 3}


@pytest.mark.usefixtures("started", "example")
@pytest.mark.parametrize(("code", "expected"), [(4, 4), (-15, 143)])
def test_nothing_is_tried_after_a_script_that_failed(
    code: int,
    expected: int,
    child: type[Child],
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child, "code", code)
    done = telemetry(*TRY_IT)
    assert done.code == expected
    assert "so nothing was tried" in done.err


@pytest.mark.usefixtures("started", "example", "child")
def test_a_script_that_records_nothing_has_nothing_to_try(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telemetry.cli.commands.record.process_start", lambda _: 8)
    done = telemetry(*TRY_IT)
    assert done.code == 2
    assert "the script recorded no run" in done.err


def test_trying_gives_no_document_on_the_output_of_the_script(
    started: Started, telemetry: Telemetry
) -> None:
    done = telemetry("record", "--json", "--try", "train.py")
    assert done.code == 2
    assert "--json cannot be used" in done.err
    assert not started
