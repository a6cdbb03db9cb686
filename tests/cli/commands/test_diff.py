from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from example_results import diff_of

import telemetry as package
from telemetry.cli.commands import diff
from telemetry.cli.screens import diff as diff_screen
from telemetry.compare.diff.result import Diff
from telemetry.compare.divergence.cause import Divergence
from telemetry.compare.terms import Axis, Direction, DivergenceKind, Verdict
from telemetry.errors import UsageError
from telemetry.store.runs.run import Run

pytestmark = pytest.mark.usefixtures("example")


def pretend(verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    calls: list[dict[str, object]] = []

    def diff_runs(
        _store: object, base: Sequence[Run], candidate: Sequence[Run], **options: object
    ) -> Diff:
        names = ([r.name for r in base], [r.name for r in candidate])
        calls.append({"runs": names, **options})
        return diff_of(base, candidate, verdict)

    monkeypatch.setattr(package, "diff_runs", diff_runs, raising=False)
    return calls


@pytest.mark.parametrize("width", [80, 120])
def test_the_verdict_comes_first_and_all_fits(
    width: int,
    telemetry: Telemetry,
    terminal: Terminal,
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(Verdict.REGRESSION, monkeypatch)
    terminal(width)
    done = telemetry("diff", "base", "wide", "--no-color")
    assert done.out.startswith("VERDICT  regression")
    assert widest(done.out) <= min(width, 99)
    assert "the candidate ends earlier." in done.err
    golden(f"cli/diff-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def test_a_terminal_without_unicode_gets_the_picture_in_ascii(
    telemetry: Telemetry, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(Verdict.REGRESSION, monkeypatch)
    terminal(80)
    monkeypatch.setenv("LC_ALL", "C")
    done = telemetry("diff", "base", "wide", "--no-color")
    assert "val_loss   . base  o candidate  # both" in done.out
    assert done.out.isascii()


def test_a_pipe_gets_every_layer(
    telemetry: Telemetry, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(Verdict.REGRESSION, monkeypatch)
    done = telemetry("diff", "base", "wide")
    assert done.out.count("update_ratio") == 11
    golden("cli/diff.tsv", done.out)


def test_json_is_the_stable_document(
    telemetry: Telemetry, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(Verdict.REGRESSION, monkeypatch)
    done = telemetry("diff", "base", "wide", "--json")
    assert validated("diff", done.out)["verdict"] == "regression"
    golden("cli/diff.json", done.out)


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.REGRESSION, 1),
        (Verdict.IMPROVEMENT, 0),
        (Verdict.NO_CHANGE, 0),
        (Verdict.INCONCLUSIVE, 3),
    ],
)
def test_the_verdict_is_the_exit_code(
    verdict: Verdict, code: int, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(verdict, monkeypatch)
    assert telemetry("diff", "base", "wide").code == code


@pytest.mark.parametrize("axis", Axis)
def test_curves_can_lie_along_another_axis_than_steps(
    axis: Axis, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pretend(Verdict.NO_CHANGE, monkeypatch)
    assert telemetry("diff", "base", "wide", "--by", axis.value).code == 0
    assert calls[0]["axis"] is axis
    assert telemetry("diff", "base", "wide", "--by", "epochs").code == 2


@pytest.mark.parametrize(
    ("fail_on", "codes"),
    [("inconclusive", [1, 0, 0, 3]), ("regression", [1, 0, 0, 0]), ("never", [0, 0, 0, 0])],
)
def test_what_fails_can_be_chosen(fail_on: str, codes: list[int]) -> None:
    assert [diff.exit_code(verdict, fail_on) for verdict in Verdict] == codes


def test_a_baseline_file_stands_for_the_base(telemetry: Telemetry, tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    assert telemetry("export", "base", "--baseline", file).code == 0
    options = ["--metric", "val_loss", "--fail-on", "regression"]
    for arguments in (["base"], ["--candidate", "base"]):
        same = telemetry("diff", "--baseline-file", file, *arguments, *options, "--json")
        assert same.code == 0
        document = validated("diff", same.out)
        assert (document["verdict"], document["baseline_file"]) == ("no_change", str(file))
    worse = telemetry("diff", "--baseline-file", file, "wide", "--margin", "0.5%", *options)
    assert f", from {file}" in worse.out
    file.write_text(file.read_text("utf-8")[:-10])
    torn = telemetry("diff", "--baseline-file", file, "wide", *options)
    assert torn.code == 2
    assert "incomplete" in torn.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["base", "wide"],
        ["--base", "tag=main", "--candidate", "tag=pr-12"],
        ["--base", "base", "wide"],
        ["base", "--candidate", "demo/wi*"],
        ["aaaaaa", "bbbb"],
    ],
)
def test_two_sides_are_chosen_in_many_ways(
    arguments: list[str], telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pretend(Verdict.NO_CHANGE, monkeypatch)
    assert telemetry("diff", *arguments).code == 0
    assert calls[0]["runs"] == (["base"], ["wide"])


def test_options_reach_the_comparison(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pretend(Verdict.NO_CHANGE, monkeypatch)
    options = ["--metric", "val_accuracy", "--margin", "2 %", "--direction", "a=b=higher"]
    assert telemetry("diff", "base", "wide", *options).code == 0
    assert calls[0]["metrics"] == ("val_accuracy",)
    assert calls[0]["margin"] == pytest.approx(0.02)
    assert calls[0]["directions"] == {"a=b": Direction.HIGHER}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["base"], "diff compares two runs, but got 1"),
        (["base", "wide", "broken"], "diff compares two runs, but got 3"),
        (["base", "wide", "--margin", "wide"], "is not a share"),
        (["base", "wide", "--margin", "150%"], "is not a share"),
        (["base", "wide", "--direction", "loss=up"], "is not METRIC=higher"),
        (["base", "tag=absent"], "no run has the tag"),
        (["base", "base"], "is both base and candidate"),
        (["--baseline-file", "b.json"], "diff needs one candidate, but got 0"),
        (["--baseline-file", "b.json", "--base", "base"], "--baseline-file is the base"),
        (["--baseline-file", "b.json", "base"], "b.json: the baseline cannot be read"),
    ],
)
def test_what_cannot_be_compared_is_named(
    arguments: list[str], words: str, telemetry: Telemetry
) -> None:
    done = telemetry("diff", *arguments)
    assert done.code == 2
    assert words in done.err


def test_margins_are_shares_or_percentages() -> None:
    assert [diff.parse_margin(text) for text in ("1%", "0.01", " 1 % ", "0")] == [
        0.01,
        0.01,
        0.01,
        0.0,
    ]
    with pytest.raises(UsageError):
        diff.parse_margin("nan")


@pytest.mark.parametrize(
    ("kind", "step", "layer", "text"),
    [
        (DivergenceKind.NONE, None, None, "none: the recorded numbers are equal"),
        (DivergenceKind.UNKNOWN, None, None, "unknown (why)"),
        (DivergenceKind.INITIAL_WEIGHTS, 0, "net.0", "step 0, layer net.0: initial weights (why)"),
    ],
)
def test_where_runs_part_is_said_in_words(
    kind: DivergenceKind, step: int | None, layer: str | None, text: str
) -> None:
    found = Divergence(step=step, kind=kind, layer=layer, detail="why")
    assert diff_screen.divergence(found) == text


def test_real_runs_of_different_seeds_are_not_called_a_regression(telemetry: Telemetry) -> None:
    done = telemetry("diff", "base", "wide", "--json")
    assert done.code in {0, 3}
    document = validated("diff", done.out)
    assert document["first_divergence"]["kind"] == "initial_weights"


def test_real_runs_are_drawn_beside_each_other(telemetry: Telemetry, terminal: Terminal) -> None:
    terminal(80)
    done = telemetry("diff", "base", "wide", "--no-color")
    assert "val_loss   · base  ● candidate  ◆ both" in done.out
    assert "|step 0" in done.out
    assert "step 180" in done.out
    assert widest(done.out) <= 80


def test_a_run_without_data_is_inconclusive(telemetry: Telemetry) -> None:
    done = telemetry("diff", "base", "nothing")
    assert done.code == 3
    assert "nothing" in done.err
