from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from example_results import DIAGNOSIS, HEALTHY

from telemetry.cli.commands import diagnose, show
from telemetry.diagnose.finding import Diagnosis, NotChecked, Outlook, Severity
from telemetry.format.manifest import read_manifest, write_manifest

pytestmark = pytest.mark.usefixtures("example")


def pretend(diagnosis: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnose, "judged", lambda _store, _run: diagnosis)


@pytest.mark.parametrize("width", [80, 120])
def test_roots_come_first_and_consequences_under_them(
    width: int,
    telemetry: Telemetry,
    terminal: Terminal,
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(DIAGNOSIS, monkeypatch)
    terminal(width)
    done = telemetry("diagnose", "broken", "--no-color")
    assert done.code == 1
    assert widest(done.out) <= min(width, 99)
    golden(f"cli/diagnose-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def test_a_screen_shows_causes_and_all_shows_the_rest(
    telemetry: Telemetry, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(DIAGNOSIS, monkeypatch)
    terminal(80)
    short = telemetry("diagnose", "broken", "--no-color").out
    assert "leads to  2 W dead_units in net.4, steps 50-69; 3 E non_finite, step 60" in short
    assert "--all says why" in short
    assert "no evaluation was logged" not in short
    assert "80 % of 32 units" not in short
    whole = telemetry("diagnose", "broken", "--no-color", "--all").out
    assert "leads to" not in whole
    assert "no evaluation was logged" in whole
    assert "80 % of 32 units" in whole


@pytest.mark.parametrize("option", ["--md", "--markdown"])
def test_a_pull_request_gets_markdown(
    option: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(DIAGNOSIS, monkeypatch)
    done = telemetry("diagnose", "broken", option)
    assert done.code == 1
    assert "1 **E** **learning_rate_too_high** net.2 (and 2 more) steps 40-69\n" in done.out
    assert "\n- **leads to** 2 W dead_units in net.4" in done.out
    assert telemetry("diagnose", "broken", option, "--json").code == 2


def test_where_no_rule_could_judge_the_reasons_are_shown_unasked(
    telemetry: Telemetry, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = (NotChecked(detector="rule", reason="no loss"),)
    pretend(replace(HEALTHY, passed=(), not_checked=skipped), monkeypatch)
    terminal(80)
    assert "rule: no loss" in telemetry("diagnose", "base", "--no-color").out


def test_a_pipe_gets_whole_sentences(
    telemetry: Telemetry, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(DIAGNOSIS, monkeypatch)
    golden("cli/diagnose.tsv", telemetry("diagnose", "broken").out)


def test_json_is_the_stable_document(
    telemetry: Telemetry, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(DIAGNOSIS, monkeypatch)
    done = telemetry("diagnose", "broken", "--json")
    assert done.code == 1
    document = validated("diagnose", done.out)
    assert [finding["consequence_of"] for finding in document["findings"]] == [
        None,
        "learning_rate_too_high",
        "learning_rate_too_high",
    ]
    golden("cli/diagnose.json", done.out)


def test_the_command_behind_a_finding_can_be_copied(
    telemetry: Telemetry, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(DIAGNOSIS, monkeypatch)
    terminal(40)
    assert "telemetry query" not in telemetry("diagnose", "broken", "--all").out
    out = telemetry("diagnose", "broken", "--details", 1, "--no-color").out
    assert "telemetry query --run cccccc 'SELECT * FROM layers WHERE step < 70'" in out


def with_severity(severity: Severity) -> Diagnosis:
    return replace(HEALTHY, findings=(replace(DIAGNOSIS.findings[0], severity=severity),))


@pytest.mark.parametrize(
    ("severity", "fail_on", "code"),
    [
        (Severity.ERROR, "error", 1),
        (Severity.ERROR, "warning", 1),
        (Severity.ERROR, "never", 0),
        (Severity.WARNING, "error", 0),
        (Severity.WARNING, "warning", 1),
        (Severity.INFO, "warning", 0),
    ],
)
def test_the_exit_code_follows_the_severity(
    severity: Severity,
    fail_on: str,
    code: int,
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(with_severity(severity), monkeypatch)
    assert telemetry("diagnose", "broken", "--fail-on", fail_on).code == code


def test_a_healthy_run_passes(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(HEALTHY, monkeypatch)
    done = telemetry("diagnose", "base")
    assert done.code == 0
    assert "no findings" in done.out
    assert "2 detectors: 0 found, 2 passed, 0 not checked" in done.out


@pytest.mark.parametrize(
    ("n_skipped", "said"),
    [
        (0, "no findings"),
        (1, "no problem found by 2 rules; 1 could not run"),
        (19, "no problem found by 2 rules; 19 could not run"),
    ],
)
def test_silence_says_how_many_rules_could_not_run(
    n_skipped: int, said: str, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = tuple(NotChecked(detector=f"rule_{n}", reason="no loss") for n in range(n_skipped))
    diagnosis = replace(HEALTHY, not_checked=skipped)
    pretend(diagnosis, monkeypatch)
    monkeypatch.setattr(show, "known_diagnosis", lambda _store, _run: diagnosis)
    assert said in telemetry("diagnose", "base").out
    assert said in telemetry("show", "base").out


def test_a_run_that_fails_without_a_finding_is_not_called_healthy(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "it learns nothing: loss 2.31; random guessing scores 2.30 (ln 10)"
    outlook = Outlook(grade="fails", text=text, suspects=("dead_units",), unlooked=("leakage",))
    pretend(replace(HEALTHY, outlook=outlook), monkeypatch)
    said = " ".join(telemetry("diagnose", "base").out.split())
    assert f"no cause found; {text}" in said
    assert "No rule is sure of the cause; suspect first: dead_units." in said
    assert "1 rule that might explain it could not run; --all says what they need." in said


def test_why_a_run_cannot_be_judged_stands_below_the_headline(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlook = Outlook(grade="unknown", text="undertrained: 12 steps are too few")
    pretend(replace(HEALTHY, outlook=outlook), monkeypatch)
    lines = telemetry("diagnose", "base").out.splitlines()
    assert "no findings" in lines[0]
    assert lines[1] == "Undertrained: 12 steps are too few."


def test_when_nothing_could_be_checked_the_answer_is_open(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(replace(HEALTHY, passed=(), not_checked=DIAGNOSIS.not_checked), monkeypatch)
    assert telemetry("diagnose", "base").code == 3


def test_a_loss_that_became_nan_is_found_in_real_data(telemetry: Telemetry) -> None:
    done = telemetry("diagnose", "broken", "--json")
    assert done.code == 1
    roots = [f for f in validated("diagnose", done.out)["findings"] if not f["consequence_of"]]
    assert [root["detector"] for root in roots] == ["non_finite"]
    assert roots[0]["first_step"] == 60


def test_a_run_that_learns_has_no_finding(telemetry: Telemetry) -> None:
    done = telemetry("diagnose", "base", "--json")
    assert done.code == 0
    document = validated("diagnose", done.out)
    assert document["findings"] == []
    assert (document["n_steps"], document["n_samples"]) == (200, 10)


def test_one_detector_can_be_asked(telemetry: Telemetry) -> None:
    done = telemetry("diagnose", "broken", "--detector", "loss_spike", "--json")
    document = validated("diagnose", done.out)
    judged = [*document["passed"], *(entry["detector"] for entry in document["not_checked"])]
    assert judged == ["loss_spike"]


def test_what_ended_before_since_is_over(telemetry: Telemetry) -> None:
    assert telemetry("diagnose", "broken", "--since", 1000).code == 0


def test_an_unknown_detector_names_the_nearest(telemetry: Telemetry) -> None:
    done = telemetry("diagnose", "broken", "--detector", "dead_unit")
    assert done.code == 2
    assert "dead_units" in done.err


@pytest.mark.parametrize("recorded", [False, True], ids=["open", "closed"])
def test_a_torn_shard_is_named_on_stderr(
    *, recorded: bool, telemetry: Telemetry, example: Path
) -> None:
    shard = next(example.glob("project=demo/*cccccc/tensor_stats/*/*.parquet"))
    if recorded:  # as the manifest of a closed run does, which saves reading footers
        run = shard.parents[2]
        place, n_bytes = str(shard.relative_to(run)), shard.stat().st_size
        files = [{"path": place, "rows": 9, "schema": 1, "bytes": n_bytes}]
        write_manifest(run, replace(read_manifest(run), files={"tensor_stats": files}))
    shard.write_bytes(shard.read_bytes()[:50])
    done = telemetry("diagnose", "broken")
    assert done.code == 1
    assert shard.name in done.err


def test_a_run_without_a_step_is_not_called_healthy(telemetry: Telemetry) -> None:
    for verb, code in (("diagnose", 3), ("show", 0)):
        done = telemetry(verb, "nothing")
        assert done.code == code
        assert "no step was recorded, so nothing could be diagnosed" in done.out
        assert "no findings" not in done.out
