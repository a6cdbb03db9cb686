"""What machines and browsers get of a comparison: GitHub, JUnit, Markdown."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Golden, Telemetry
from example_results import diff_of
from hypothesis import given
from hypothesis import strategies as st

import telemetry as package
from telemetry.cli.output.github import Level, annotation, annotations
from telemetry.cli.output.junit import junit_xml
from telemetry.compare.diff.result import Diff
from telemetry.compare.terms import Verdict
from telemetry.store.runs.catalog import list_runs
from telemetry.store.runs.run import Run

HOSTILE = "::error::50 %,\r\n]]> <x a='\"&> \x00\x1b \ufffe \ud800"


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text.encode("utf-8"))  # noqa: S314 - what this package has just written


@pytest.fixture
def runs(template: Path) -> list[Run]:
    return list_runs(template)


def found(runs: list[Run], verdict: Verdict = Verdict.REGRESSION) -> Diff:
    return diff_of(runs[-1:], runs[:1], verdict)


def hostile(diff: Diff) -> Diff:
    metrics = [replace(metric, name=HOSTILE, reason=HOSTILE) for metric in diff.metrics]
    metrics[1] = replace(metrics[1], verdict=Verdict.REGRESSION)
    findings = tuple(replace(entry, message=HOSTILE) for entry in diff.new_findings)
    return replace(
        diff,
        reason=HOSTILE,
        metrics=tuple(metrics),
        new_findings=findings,
        warnings=(HOSTILE,),
        baseline_file=HOSTILE,
    )


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, example: Path) -> Iterator[list[Diff]]:
    """The comparison that the command gets."""
    del example
    results: list[Diff] = []

    def diff_runs(_store: object, base: list[Run], candidate: list[Run], **_: object) -> Diff:
        return results[0] if results else diff_of(base, candidate, Verdict.REGRESSION)

    monkeypatch.setattr(package, "diff_runs", diff_runs, raising=False)
    return results


@pytest.mark.usefixtures("pretended")
def test_markdown_is_the_same_screen_for_a_browser(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("diff", "base", "wide", "--markdown")
    assert done.code == 1
    assert done.out.startswith("**VERDICT** **regression**")
    assert "- **warning** the candidate ends earlier." in done.out
    golden("cli/diff.md", done.out)


@pytest.mark.usefixtures("pretended")
def test_a_job_of_github_gets_annotations_and_a_summary(
    telemetry: Telemetry, tmp_path: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = telemetry("diff", "base", "wide", "--github")
    assert done.code == 1
    assert done.out.startswith("::error title=telemetry diff%3A regression::val_loss +7.1 %25 (95")
    golden("cli/diff.github", done.out)
    assert summary.read_text("utf-8").startswith("before\n**VERDICT** **regression**\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert telemetry("diff", "base", "wide", "--github").code == 2
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert telemetry("diff", "base", "wide", "--github").code == 1


@pytest.mark.parametrize(
    ("verdict", "code", "level"),
    [
        (Verdict.REGRESSION, 1, Level.ERROR),
        (Verdict.REGRESSION, 0, Level.WARNING),
        (Verdict.INCONCLUSIVE, 1, Level.ERROR),
        (Verdict.INCONCLUSIVE, 0, Level.WARNING),
        (Verdict.NO_CHANGE, 0, Level.NOTICE),
        (Verdict.IMPROVEMENT, 0, Level.NOTICE),
    ],
)
def test_the_first_annotation_is_as_loud_as_the_exit_code(
    verdict: Verdict,
    code: int,
    level: Level,
    runs: list[Run],
) -> None:
    assert next(annotations(found(runs, verdict), fails=code > 0)).startswith(f"::{level} title=")


def test_a_hostile_name_commands_nothing(runs: list[Run]) -> None:
    lines = list(annotations(hostile(found(runs)), fails=True))
    assert len(lines) == 3
    for line in lines:
        assert line.splitlines() == [line]
        assert "\x1b" not in line


@given(title=st.text(), message=st.text())
def test_an_annotation_is_one_line_with_one_title(title: str, message: str) -> None:
    line = annotation(Level.ERROR, title, message)
    assert len(line.splitlines()) == 1
    head, _, body = line.removeprefix("::").partition("::")
    assert head.count("=") >= 1
    assert "," not in head
    assert "\n" not in body


def test_junit_has_a_test_for_each_metric(runs: list[Run], golden: Golden) -> None:
    text = junit_xml(found(runs), fails=True)
    (suite,) = parsed(text)
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == ["val_loss", "val_accuracy", "score", "rare"]
    assert suite.get("failures") == "1"
    assert cases["val_loss"].find("failure").get("type") == "regression"
    golden("cli/diff.xml", text)


@pytest.mark.parametrize(
    ("verdict", "code", "outcome"),
    [
        (Verdict.REGRESSION, 1, "failure"),
        (Verdict.REGRESSION, 0, None),
        (Verdict.INCONCLUSIVE, 1, "failure"),
        (Verdict.INCONCLUSIVE, 0, "skipped"),
        (Verdict.NO_CHANGE, 0, None),
    ],
)
def test_junit_fails_where_the_command_does(
    verdict: Verdict,
    code: int,
    outcome: str | None,
    runs: list[Run],
) -> None:
    deciding = parsed(junit_xml(found(runs, verdict), fails=code > 0)).find(".//testcase")
    outcomes = {child.tag for child in deciding} & {"failure", "skipped", "error"}
    assert outcomes == ({outcome} if outcome else set())


def test_junit_is_xml_whatever_the_names_hold(runs: list[Run]) -> None:
    root = parsed(junit_xml(hostile(found(runs)), fails=True))
    assert "::error::50 %" in root.find(".//testcase").get("name")
    empty = replace(found(runs, Verdict.INCONCLUSIVE), metrics=(), margin=math.inf)
    (case,) = parsed(junit_xml(empty, fails=False)).iter("testcase")
    assert case.get("name") == "verdict"


@pytest.mark.usefixtures("pretended")
def test_the_junit_file_stands_beside_the_screen(telemetry: Telemetry, tmp_path: Path) -> None:
    file = tmp_path / "diff.xml"
    done = telemetry("diff", "base", "wide", "--junit", file, "--fail-on", "never")
    assert done.code == 0
    assert done.out.startswith("VERDICT\tregression")
    assert parsed(file.read_text("utf-8")).get("failures") == "0"
    assert telemetry("diff", "base", "wide", "--junit", tmp_path / "absent" / "x").code == 2


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("other", ["--json", "--markdown"])
def test_annotations_are_not_mixed_with_another_form(other: str, telemetry: Telemetry) -> None:
    assert telemetry("diff", "base", "wide", "--github", other).code == 2
