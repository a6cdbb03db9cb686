"""Errors become exit codes and one line; the common options work anywhere."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from command_line import Telemetry

from telemetry.cli import main
from telemetry.cli.options import Settings, verb
from telemetry.cli.versions import library_version
from telemetry.errors import Inconclusive, StoreUnreadable
from telemetry.format.tables import table, table_names


def fails_with(error: BaseException) -> Callable[[], click.Group]:
    def group() -> click.Group:
        debug = click.Option(["--debug"], is_flag=True, expose_value=False)

        @click.command("fail", params=[debug])
        def fail() -> None:
            raise error

        return click.Group("telemetry", commands=[fail])

    return group


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (StoreUnreadable("no store at x."), 2, "telemetry: error: no store at x."),
        (Inconclusive("too few steps."), 3, "telemetry: error: too few steps."),
        (click.ClickException("wrong"), 2, "telemetry: error: wrong"),
        (click.Abort(), 2, "aborted; nothing was changed."),
        (EOFError(), 2, "aborted; nothing was changed."),
        (KeyboardInterrupt(), 130, "interrupted."),
        (ValueError("a\nb"), 2, "telemetry: error: ValueError: a"),
        (ZeroDivisionError(), 2, "telemetry: error: ZeroDivisionError: no message"),
    ],
)
def test_every_error_has_an_exit_code_and_one_line(
    error: BaseException,
    code: int,
    message: str,
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(main, "group", fails_with(error))
    done = telemetry("fail")
    assert done.code == code
    assert message in done.err
    assert done.out == ""
    assert "Traceback" not in done.err


@pytest.mark.parametrize("error", [ValueError("deep"), StoreUnreadable("deep")])
def test_debug_shows_the_traceback(
    error: Exception, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "group", fails_with(error))
    done = telemetry("fail", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert "in fail" in done.err


def test_a_prompt_that_was_interrupted_ends_with_130(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    abort = click.Abort()
    abort.__context__ = KeyboardInterrupt()
    monkeypatch.setattr(main, "group", fails_with(abort))
    assert telemetry("fail").code == 130


@pytest.mark.parametrize(
    ("result", "code"), [(None, 0), (0, 0), (1, 1), (3, 3)], ids=["none", "clean", "found", "open"]
)
def test_the_result_of_a_verb_is_the_exit_code(
    result: int | None,
    code: int,
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = click.Command("judge", callback=lambda: result)
    monkeypatch.setattr(main, "group", lambda: click.Group("telemetry", commands=[command]))
    assert telemetry("judge").code == code


def test_an_exit_asked_for_inside_a_verb_is_kept(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = click.Command("stop", callback=lambda: click.get_current_context().exit(3))
    monkeypatch.setattr(main, "group", lambda: click.Group("telemetry", commands=[command]))
    assert telemetry("stop").code == 3


def test_an_unknown_verb_or_option_names_the_help(telemetry: Telemetry) -> None:
    unknown_verb = telemetry("rnus")
    assert unknown_verb.code == 2
    assert "there is no command 'rnus'; did you mean runs?" in unknown_verb.err
    assert "try: telemetry --help" in unknown_verb.err
    unknown_option = telemetry("runs", "--colour")
    assert unknown_option.code == 2
    assert "try: telemetry runs --help" in unknown_option.err


def test_an_unknown_part_of_a_verb_names_the_nearest(telemetry: Telemetry) -> None:
    done = telemetry("explain", "inptu")
    assert done.code == 2
    assert "there is no command 'inptu'; did you mean input?" in done.err
    assert "try: telemetry explain --help" in done.err


@pytest.mark.parametrize("group", ["cv", "explain", "hypotheses"])
def test_a_group_without_a_part_shows_its_help(telemetry: Telemetry, group: str) -> None:
    done = telemetry(group)
    assert (done.code, done.err) == (0, "")
    assert done.out == telemetry(group, "--help").out


def test_the_help_of_a_verb_that_is_a_python_keyword_has_no_underscore() -> None:
    @verb("telemetry.cli.commands.import_", "Copy runs in.\n\nExamples:\n  telemetry import x\n")
    def command() -> None:
        """Nothing."""

    assert command.name == "import"
    assert command.examples == ("telemetry import x",)


def settings_from(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    seen: list[Settings] = []

    @verb("telemetry.cli.commands.look", "Look.\n\nExamples:\n  telemetry look")
    @click.pass_obj
    def command(settings: Settings) -> None:
        seen.append(settings)

    monkeypatch.setattr(main.Verbs, "get_command", lambda _group, _context, _name: command)
    assert main.run(arguments) == 0
    return seen[0]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_common_options_work_before_and_after_the_verb(
    before: bool,  # noqa: FBT001 - a test parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = ["--store", "there", "--json", "--no-color", "--wide", "--debug"]
    arguments = [*options, "look"] if before else ["look", *options]
    expected = Settings(
        given_store=Path("there"), output_json=True, color=False, wide=True, debug=True
    )
    assert settings_from(arguments, monkeypatch) == expected


def test_the_option_next_to_the_verb_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_STORE", "environment")
    assert settings_from(["look"], monkeypatch).store == Path("environment")
    arguments = ["--store", "outer", "look", "--store", "inner"]
    assert settings_from(arguments, monkeypatch).store == Path("inner")
    assert settings_from(["--store", "outer", "look"], monkeypatch).store == Path("outer")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_the_environment_can_refuse_colour(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings_from(["look"], monkeypatch).color
    monkeypatch.setenv(name, value)
    assert not settings_from(["look"], monkeypatch).color


def test_the_version_names_libraries_and_tables(telemetry: Telemetry) -> None:
    done = telemetry("--version")
    assert done.code == 0
    tables = [f"{name} {table(name).version}" for name in table_names()]
    for word in ("telemetry 0.", "duckdb ", "pyarrow ", "manifest 1", *tables):
        assert word in done.out


def shell(arguments: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "telemetry", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shell_completes_verbs() -> None:
    done = shell(
        [],
        _TELEMETRY_COMPLETE="bash_complete",
        COMP_WORDS="telemetry diag",
        COMP_CWORD="1",
    )
    assert done.stdout.split() == ["plain,diagnose"]


def test_an_absent_library_is_called_absent() -> None:
    assert library_version("no-such-distribution") == "absent"


def test_a_reader_that_leaves_early_causes_no_noise() -> None:
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "telemetry", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.close()
    _, err = child.communicate()
    assert err == b""
    assert child.returncode == 128 + signal.SIGPIPE


INTERRUPTED = """
import signal
import click
from telemetry.cli import main

def query():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as interrupt:
        raise RuntimeError("Query interrupted") from interrupt

verb = click.Command("query", callback=query)
main.group = lambda: click.Group("telemetry", commands=[verb])
main.main()
"""


def test_ctrl_c_that_a_library_turns_into_its_own_error_ends_with_130() -> None:
    """As DuckDB does: its RuntimeError says `Query interrupted`."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "query"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "telemetry: error: interrupted.\n"
