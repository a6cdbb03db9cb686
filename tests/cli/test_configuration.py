"""What a settings file changes on the command line."""

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated, widest
from example_results import DIAGNOSIS

from telemetry.cli import main
from telemetry.cli.commands import diagnose, show
from telemetry.diagnose.finding import Suppressed

pytestmark = pytest.mark.usefixtures("example")
ACCEPTED = '[[suppress]]\ndetector = "non_finite"\nreason = "the test run that breaks"\n'


def settings(text: str) -> None:
    Path("telemetry.toml").write_text(text)


def test_a_suppressed_finding_is_counted_listed_and_does_not_fail(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    assert telemetry("diagnose", "broken").code == 1
    settings(ACCEPTED)
    done = telemetry("diagnose", "broken", "--json")
    document = validated("diagnose", done.out)
    assert done.code == 0
    assert document["findings"] == []
    (entry,) = document["suppressed"]
    assert (entry["detector"], entry["by"]) == ("non_finite", "telemetry.toml")
    words = "1 suppressed: non_finite by telemetry.toml (the test run that breaks)"
    assert words in telemetry("diagnose", "broken").out
    terminal(80)
    for verb in ("diagnose", "show"):
        shown = telemetry(verb, "broken", "--no-color").out
        assert words in shown
        assert widest(shown) <= 80


def test_what_follows_from_a_suppressed_root_names_it(
    telemetry: Telemetry, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = Suppressed(finding=DIAGNOSIS.findings[0], reason="known", by="telemetry.toml")
    rest = replace(DIAGNOSIS, findings=DIAGNOSIS.findings[1:], suppressed=(accepted,))
    monkeypatch.setattr(diagnose, "judged", lambda _store, _run: rest)
    monkeypatch.setattr(show, "known_diagnosis", lambda _store, _run: rest)
    assert (
        "E\tnon_finite\t-\tstep 60\tconsequence of learning" in telemetry("diagnose", "broken").out
    )
    terminal(80)
    done = telemetry("diagnose", "broken", "--no-color")
    assert done.code == 1
    assert "2 consequences" in done.out
    assert "causes" not in done.out
    for out in (done.out, telemetry("show", "broken", "--no-color").out):
        assert out.count("cause     learning_rate_too_high, which is suppressed") == 2
        assert widest(out) <= 80


def test_a_run_of_which_all_is_suppressed_was_checked(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = Suppressed(finding=DIAGNOSIS.findings[0], reason="known", by="telemetry.toml")
    only = replace(DIAGNOSIS, findings=(), passed=(), suppressed=(accepted,))
    monkeypatch.setattr(diagnose, "judged", lambda _store, _run: only)
    assert telemetry("diagnose", "broken").code == 0


def test_show_and_queries_follow_the_same_file(telemetry: Telemetry) -> None:
    settings(ACCEPTED)
    shown = validated("show", telemetry("show", "broken", "--json").out)
    assert [entry["detector"] for entry in shown["suppressed"]] == ["non_finite"]
    found = telemetry("query", "--run", "broken", "select detector from findings order by detector")
    assert found.out == "detector\n"
    difference = validated("diff", telemetry("diff", "base", "broken", "--json").out)
    assert difference["findings"]["new"] == []
    settings("")
    difference = validated("diff", telemetry("diff", "base", "broken", "--json").out)
    assert [entry["detector"] for entry in difference["findings"]["new"]] == ["non_finite"]
    found = telemetry("query", "--run", "broken", "select detector from findings order by detector")
    assert "non_finite" in found.out


def test_runs_counts_findings_of_the_settings_in_force(telemetry: Telemetry) -> None:
    def counted() -> str:
        lines = telemetry("runs").out.splitlines()
        (line,) = (line for line in lines if line.startswith("cccccc"))
        return line.split("\t")[-1]

    telemetry("diagnose", "broken")
    assert counted() == "E1"
    settings(ACCEPTED)
    assert counted() == "?"
    telemetry("diagnose", "broken")
    assert counted() == "-"


def test_the_level_of_failure_comes_from_the_option_then_the_file(telemetry: Telemetry) -> None:
    settings('fail_on = "never"\n')
    assert telemetry("diagnose", "broken").code == 0
    assert telemetry("diagnose", "broken", "--fail-on", "error").code == 1


def test_the_store_comes_from_option_environment_file_in_this_order(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings('store = "from-file"\n')
    assert "from-file" in telemetry("runs").err
    monkeypatch.setenv("TELEMETRY_STORE", "from-environment")
    assert "from-environment" in telemetry("runs").err
    assert telemetry("runs", "--store", "telemetry-runs").code == 0


def test_a_wrong_file_is_one_error_and_help_works_all_the_same(
    telemetry: Telemetry, capsys: pytest.CaptureFixture[str]
) -> None:
    settings("[detectors.non_finit]\n")
    done = telemetry("diagnose", "broken")
    assert (done.code, done.out) == (2, "")
    assert "telemetry.toml: detectors.non_finit" in done.err
    assert "did you mean non_finite" in done.err
    settings("[[[\n")
    assert telemetry("diagnose", "--help").code == 0
    assert telemetry("layers", "base", "--store", "telemetry-runs").code == 0
    assert main.run(["runs"]) == 2
    assert "telemetry.toml is not TOML" in capsys.readouterr().err
