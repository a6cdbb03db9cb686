"""Every verb explains itself, and its examples are commands that exist."""

import shlex
from dataclasses import replace
from pathlib import Path

import click
import pytest
from command_line import Telemetry

from telemetry.cli import main
from telemetry.cli.commands.detectors import complete_detectors
from telemetry.cli.main import Verbs, group
from telemetry.cli.options import Verb, complete_runs, default_settings
from telemetry.cli.verbs import modules, verb_files

NAMES = sorted(modules())


def command(name: str) -> Verb:
    found = group().get_command(click.Context(group()), name)
    assert isinstance(found, Verb)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_verb_has_one_sentence_and_examples(name: str, telemetry: Telemetry) -> None:
    done = telemetry(name, "--help")
    assert done.code == 0
    assert done.out == telemetry(name, "-h").out
    sentence = (command(name).help or "").partition("\n\n")[0]
    assert sentence.endswith(".")
    assert 2 <= len(command(name).examples) <= 6
    assert max(map(len, done.out.splitlines())) <= 90


@pytest.mark.parametrize("name", NAMES)
def test_every_example_can_be_parsed(name: str) -> None:
    for example in command(name).examples:
        program, *arguments = shlex.split(example)
        assert program == "telemetry"
        root: Verbs = group()
        with root.make_context(program, arguments, obj=default_settings()) as context:
            rest = [*context._protected_args, *context.args]
            verb, found, rest = root.resolve_command(context, rest)
            assert verb == name
            assert found is not None
            inner = found.make_context(name, rest, parent=context)
            if isinstance(found, click.Group):
                _, part, rest = found.resolve_command(inner, [*inner._protected_args, *inner.args])
                assert part is not None
                part.make_context("part", rest, parent=inner)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_explained(name: str) -> None:
    found = command(name)
    parts = list(found.commands.values()) if isinstance(found, click.Group) else []
    params = [parameter for one in (found, *parts) for parameter in one.params]
    options = [p for p in params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_list_of_verbs_shows_their_first_lines_in_groups(telemetry: Telemetry) -> None:
    out = telemetry("--help").out
    for name in NAMES:
        assert f"  {name} " in out
    titles = [line.rstrip(":") for line in out.splitlines() if line.endswith(":")]
    assert titles == ["Options", "Look", "Diagnose", "Compare", "Explain", "Data"]
    assert "Exit codes: 0 clean" in out


def test_a_former_name_of_a_verb_works_and_is_not_listed(telemetry: Telemetry) -> None:
    former = {name: verb for verb, file in verb_files().items() for name in file.former_names}
    assert former["examples"] == "hard-examples"
    for name, verb in former.items():
        assert (
            telemetry(name, "--help").out.splitlines()[2:]
            == (telemetry(verb, "--help").out.splitlines()[2:])
        )
        assert f"  {name} " not in telemetry("--help").out


def test_verbs_and_detectors_are_completed() -> None:
    context = click.Context(group(), obj=default_settings())
    found = {item.value: item.help for item in group().shell_complete(context, "d")}
    assert set(found) == {name for name in NAMES if name.startswith("d")} >= {"demo", "diff"}
    assert found["diff"].startswith("Compare two runs")
    assert complete_detectors(context, click.Argument(["name"]), "dead") == ["dead_units"]


def test_a_shell_that_asks_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.complete() is None
    monkeypatch.setenv(main.COMPLETION_VARIABLE, "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "telemetry ru")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit) as done:
        main.main()
    assert done.value.code == 0
    assert capsys.readouterr().out == "plain,runs\n"


def test_run_names_and_ids_are_completed(template: Path) -> None:
    context = click.Context(group(), obj=default_settings())
    context.obj = replace(default_settings(), given_store=template)
    every = complete_runs(context, click.Argument(["run"]), "")
    assert every[0] == "latest"
    assert {"base", "aaaaaa", "wide"} <= set(every)
    assert not any("\x1b" in text for text in every)
    assert complete_runs(context, click.Argument(["run"]), "bb") == ["bbbbbb"]
    context.obj = replace(default_settings(), given_store=Path("absent"))
    assert complete_runs(context, click.Argument(["run"]), "") == []


def test_an_option_is_the_same_wherever_a_model_runs() -> None:
    """Type, unit and default of what several verbs share; --limit of dreams begins at two."""
    shared = {"--seed", "--batch", "--device", "--timeout", "--out", "--html", "--no-store"}
    found: dict[str, set[str]] = {}
    for name in ("explain", "evaluate", "hypotheses", "cv"):
        verb = command(name)
        for part in verb.commands.values() if isinstance(verb, click.Group) else [verb]:
            for option in part.params:
                if shared & set(option.opts):
                    kind = f"{option.type} {option.metavar} {option.default}"
                    found.setdefault(option.opts[0], set()).add(kind)
    assert found.keys() == shared
    assert [name for name, kinds in found.items() if len(kinds) > 1] == []
