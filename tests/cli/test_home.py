"""`telemetry` alone: the latest runs, the newest problem, and what to do next."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import Telemetry, Terminal, validated, widest
from example_results import DIAGNOSIS
from synthetic import RunBuilder

from telemetry.cli.home import foremost
from telemetry.finding import Severity
from telemetry.format.manifest import Status


def steps_of(out: str) -> list[str]:
    lines = [line.partition("#")[0].split() for line in out.splitlines()]
    return [" ".join(words[1:]) for words in lines if words[:1] in (["next"], ["or"])]


@pytest.mark.usefixtures("store")
def test_without_a_run_it_says_how_to_get_one(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    done = telemetry("--no-color")
    assert (done.code, done.err) == (0, "")
    assert "telemetry-runs  no run yet" in done.out
    assert steps_of(done.out)[:2] == ["telemetry record train.py", "telemetry demo"]
    assert widest(done.out) <= 80


@pytest.mark.usefixtures("example")
def test_the_newest_problem_and_the_command_about_it_follow_the_runs(
    telemetry: Telemetry, terminal: Terminal
) -> None:
    terminal(80)
    assert telemetry("diagnose", "broken").code == 1
    out = telemetry("--no-color").out
    assert out.index("NAME") < out.index("newest problem") < out.index("next ")
    assert "newest problem  broken  cccccc" in out
    assert "non_finite" in out
    latest = "telemetry diagnose latest"  # nobody has judged the newest run yet
    assert steps_of(out) == [latest, "telemetry diagnose cccccc", "telemetry --help"]
    assert widest(out) <= 80
    document = validated("home", telemetry("--json").out)
    assert document["problem"]["finding"]["detector"] == "non_finite"
    assert document["next"][:2] == [latest, "telemetry diagnose cccccc"]


@pytest.mark.usefixtures("example")
def test_what_a_run_keeps_is_shown_without_judging_it_again(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert telemetry("diagnose", "broken").code == 1
    asked: list[object] = []
    monkeypatch.setattr(
        "telemetry.diagnose.diagnose.diagnose_run", lambda *args, **_: asked.append(args)
    )
    assert '"detector": "non_finite"' in telemetry("--json").out
    assert asked == []


def test_the_problem_of_the_newest_run_is_the_next_step(telemetry: Telemetry, store: Path) -> None:
    RunBuilder(store).losses([2.0, 1.0, *[float("nan")] * 3]).write()
    assert telemetry("diagnose", "latest").code == 1
    (short, *_), *_ = [line.split() for line in telemetry("runs").out.splitlines()[1:]]
    assert steps_of(telemetry().out) == [f"telemetry diagnose {short}", "telemetry --help"]


def test_a_run_that_nobody_diagnosed_is_to_be_diagnosed(telemetry: Telemetry, store: Path) -> None:
    RunBuilder(store).losses([2.0, 1.0]).write()
    assert steps_of(telemetry().out)[0] == "telemetry diagnose latest"


def test_a_run_that_goes_on_is_to_be_followed(telemetry: Telemetry, store: Path) -> None:
    builder = RunBuilder(store, started=datetime.now(UTC)).losses([2.0, 1.0])
    builder.write(status=Status.RUNNING)
    document = validated("home", telemetry("--json").out)
    assert document["runs"][0]["status"] == "running"
    assert document["next"][0] == "telemetry diagnose latest --follow"


def test_a_sound_run_is_held_against_the_one_before(telemetry: Telemetry, store: Path) -> None:
    for letter in "ab":
        builder = RunBuilder(store, run=f"20260102-03040{ord(letter) % 10}-{letter * 6}")
        builder.losses([2.0 - 0.01 * step for step in range(100)]).write()
        telemetry("diagnose", letter * 6)
    assert steps_of(telemetry().out)[0] == "telemetry diff aaaaaa latest"


def test_options_of_the_command_alone_work(telemetry: Telemetry, store: Path) -> None:
    RunBuilder(store / "elsewhere", name="other").losses([1.0]).write()
    assert "other" in telemetry("--store", store / "elsewhere").out


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("info:note error:broken", "broken"),
        ("warning:slow error:broken info:note", "broken"),
        ("warning:cause error:broken<cause", "cause"),
        ("info:note error:broken<note", "broken"),
        ("error:first error:second warning:third<second", "first"),
        ("warning:cause warning:middle<cause error:end<middle", "cause"),
        ("info:note", None),
        ("", None),
    ],
)
def test_the_problem_is_the_gravest_finding_or_its_cause_and_never_a_note(
    rows: str, named: str | None
) -> None:
    findings = []
    for row in rows.split():
        severity, _, rest = row.partition(":")
        name, _, cause = rest.partition("<")
        findings.append(
            replace(
                DIAGNOSIS.findings[0],
                detector=name,
                severity=Severity(severity),
                consequence_of=cause or None,
            )
        )
    found = foremost(findings)
    assert (found and found.detector) == named
