from collections.abc import Sequence
from dataclasses import replace

import pytest
from command_line import Golden, Telemetry, Terminal, validated, widest
from example_results import folds_of, sweep_of

import telemetry as package
from telemetry.compare.sweep.result import Sweep
from telemetry.compare.terms import Direction
from telemetry.store.runs.run import Run

pytestmark = pytest.mark.usefixtures("example")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What `sweep_runs` was asked; it answers with fixed numbers."""
    asked: list[dict[str, object]] = []

    def sweep_runs(_store: object, runs: Sequence[Run], **options: object) -> Sweep:
        asked.append({"runs": [run.name for run in runs], **options})
        return sweep_of(runs)

    monkeypatch.setattr(package, "sweep_runs", sweep_runs, raising=False)
    return asked


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize("width", [80, 120])
def test_parameters_failures_and_ranking_fit_the_terminal(
    width: int, telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(width)
    done = telemetry("sweep", "demo", "--no-color")
    assert done.code == 0
    assert widest(done.out) <= min(width, 99)
    assert "6 runs are few" in done.err
    golden(f"cli/sweep-{width}.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


def test_damaged_files_are_named_on_stderr(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        package,
        "sweep_runs",
        lambda _store, runs, **_: replace(sweep_of(runs), damage=("steps/rank=0/x: torn",)),
        raising=False,
    )
    done = telemetry("sweep", "demo", "--json")
    assert "steps/rank=0/x: torn" in done.err
    assert "torn" not in done.out


@pytest.fixture
def folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep whose runs were folds of two configurations."""
    monkeypatch.setattr(
        package, "sweep_runs", lambda _store, runs, **_: folds_of(runs), raising=False
    )


@pytest.mark.usefixtures("folded")
def test_folds_show_means_and_how_far_each_is_behind(
    telemetry: Telemetry, terminal: Terminal, golden: Golden
) -> None:
    terminal(80)
    done = telemetry("sweep", "demo", "--folds", "--no-color")
    assert (done.code, widest(done.out) <= 80) == (0, True)
    golden("cli/sweep-folds.txt", "\n".join(map(str.rstrip, done.out.split("\n"))))


@pytest.mark.usefixtures("folded")
def test_folds_fit_the_schema(telemetry: Telemetry) -> None:
    document = validated("sweep", telemetry("sweep", "demo", "--folds", "--json").out)
    assert [one["folds"] for one in document["configurations"]] == [5, 4]


@pytest.mark.usefixtures("calls")
def test_markdown_holds_the_tables_and_the_warnings(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("sweep", "demo", "--markdown")
    assert done.code == 0
    golden("cli/sweep.md", done.out)


@pytest.mark.usefixtures("calls")
def test_json_is_the_stable_document(telemetry: Telemetry, golden: Golden) -> None:
    done = telemetry("sweep", "demo", "--json")
    assert validated("sweep", done.out)["seed_noise"] == 0.008
    golden("cli/sweep.json", done.out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo"], {"runs": ["nothing", "interrupted", "broken", "wide", "base"]}),
        (["--project", "de*", "--tag", "main"], {"runs": ["base"]}),
        (["demo", "--metric", "score", "--goal", "max"], {"goal": Direction.HIGHER}),
        (["demo"], {"goal": None, "metric": None, "folds": False}),
        (["demo", "--folds"], {"folds": True}),
    ],
)
def test_runs_metric_and_goal_are_chosen(
    arguments: list[str],
    expected: dict[str, object],
    telemetry: Telemetry,
    calls: list[dict[str, object]],
) -> None:
    assert telemetry("sweep", *arguments).code == 0
    assert {name: calls[0][name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["absent"],
            "no run has project 'absent'; the store has the projects demo, weird/../project",
        ),
        (["demo", "--tag", "gone"], "no run has project 'demo' and tag 'gone'; the store has"),
        (["demo", "--project", "other"], "two projects were given"),
        (["--tag", "main"], "at least two runs"),
        (["demo", "--metric", "speed"], "speed"),
    ],
)
def test_what_cannot_be_swept_is_named(
    arguments: list[str], words: str, telemetry: Telemetry
) -> None:
    done = telemetry("sweep", *arguments)
    assert done.code == 2
    assert words in done.err


def test_a_real_sweep_ranks_the_runs(telemetry: Telemetry) -> None:
    done = telemetry("sweep", "demo", "--metric", "val_loss")
    assert done.code == 0
    assert "best base aaaaaa" in done.out
    assert "non_finite" in done.out
