"""What a selector means."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from synthetic import START, RunBuilder

from telemetry.errors import RunNotFound, TelemetryError, UsageError
from telemetry.store.runs.catalog import list_runs
from telemetry.store.runs.run import Run
from telemetry.store.runs.select import filter_runs, select_group, select_run, shortest_selector

RUNS = [  # id, project, name, tags, hours after START
    ("20260102-030405-aaaaaa", "digits", "base", ("main",), 0),
    ("20260102-030405-aabbbb", "digits", "base", ("main",), 1),
    ("20260103-030405-cccccc", "digits", "wide", ("pr-12",), 2),
    ("mine", "text", "base", (), 3),
    ("20260104-030405-dddddd", "my project/x", "tiny", ("gan",), 4),
]


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    for run, project, name, tags, hours in RUNS:
        RunBuilder(
            store=tmp_path,
            run=run,
            project=project,
            name=name,
            tags=tags,
            started=START + timedelta(hours=hours),
        ).write()
    return list_runs(tmp_path)


def test_a_file_of_weights_is_the_latest_only_where_nothing_was_trained(tmp_path: Path) -> None:
    RunBuilder(store=tmp_path, run="checkpoint-0011223344556677", started=START).write()
    assert select_run(list_runs(tmp_path), "latest").run.startswith("checkpoint")
    earlier = START - timedelta(days=1)
    RunBuilder(store=tmp_path, run="20260102-030405-aaaaaa", started=earlier).write()
    runs = list_runs(tmp_path)
    assert select_run(runs, "latest").run.endswith("aaaaaa")
    assert select_run(runs, "latest~1").run.startswith("checkpoint")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("20260102-030405-aaaaaa", "aaaaaa"),
        ("20260103", "cccccc"),
        ("cccc", "cccccc"),
        ("cccccc", "cccccc"),
        ("wide", "cccccc"),
        ("digits/wide", "cccccc"),
        ("text/base", "mine"),
        ("mine", "mine"),
        ("latest", "dddddd"),
        ("latest~1", "mine"),
        ("latest~4", "aaaaaa"),
        ("my project/x/tiny", "dddddd"),
        ("my project/x/dddd", "dddddd"),
        ("digits/20260103-030405-cccccc", "cccccc"),
    ],
)
def test_a_selector_means_one_run(runs: Sequence[Run], selector: str, expected: str) -> None:
    assert select_run(runs, selector).run.endswith(expected)


@pytest.mark.parametrize("selector", ["20260102-", "base", "digits/base"])
def test_several_runs_are_an_error_whose_candidates_work(
    runs: Sequence[Run], selector: str
) -> None:
    with pytest.raises(RunNotFound) as caught:
        select_run(runs, selector)

    assert len(caught.value.candidates) >= 2
    for candidate in caught.value.candidates:
        assert candidate in str(caught.value)
        assert select_run(runs, candidate)


@pytest.mark.parametrize("selector", ["ccc", "nothing", "latest~5", "digits/tiny", "", "latest~x"])
def test_no_run_is_an_error(runs: Sequence[Run], selector: str) -> None:
    with pytest.raises(RunNotFound):
        select_run(runs, selector)


def test_near_names_are_suggested(runs: Sequence[Run]) -> None:
    with pytest.raises(RunNotFound, match=r"Nearest: wide.*telemetry runs") as caught:
        select_run(runs, "wider")

    assert caught.value.candidates[0] == "wide"


def test_an_empty_store_says_so() -> None:
    with pytest.raises(RunNotFound, match="no runs to choose from"):
        select_run([], "latest")


def test_a_hostile_selector_is_shown_escaped(runs: Sequence[Run]) -> None:
    with pytest.raises(RunNotFound) as caught:
        select_run(runs, "\x1b[31mred\u202e")

    assert "\x1b" not in str(caught.value)
    assert "\u202e" not in str(caught.value)


def test_many_candidates_are_cut(tmp_path: Path) -> None:
    for index in range(10):
        RunBuilder(store=tmp_path, run=f"20260102-030405-aaaa{index:02d}", name="same").write()

    with pytest.raises(RunNotFound, match="and 2 more"):
        select_run(list_runs(tmp_path), "same")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("tag=main", ["aabbbb", "aaaaaa"]),
        ("digits/*", ["cccccc", "aabbbb", "aaaaaa"]),
        ("w?de", ["cccccc"]),
        ("base", ["mine", "aabbbb", "aaaaaa"]),
        ("digits/base", ["aabbbb", "aaaaaa"]),
        ("cccc", ["cccccc"]),
        ("latest", ["dddddd"]),
    ],
)
def test_a_group_selector_means_runs(
    runs: Sequence[Run], selector: str, expected: list[str]
) -> None:
    assert [run.run[-6:] for run in select_group(runs, selector)] == expected


@pytest.mark.parametrize(
    ("selector", "hint"), [("tag=mian", "main"), ("tag=zzz", "gan"), ("x*", "no run matches")]
)
def test_an_empty_group_is_an_error(runs: Sequence[Run], selector: str, hint: str) -> None:
    with pytest.raises(RunNotFound, match=hint):
        select_group(runs, selector)


def test_runs_are_filtered_by_every_condition(runs: Sequence[Run]) -> None:
    def found(**conditions: str) -> list[str]:
        return [run.run[-6:] for run in filter_runs(runs, **conditions)]

    assert found(project="digits") == ["cccccc", "aabbbb", "aaaaaa"]
    assert found(project="t*t") == ["mine"]
    assert found(project="digits", since="2026-01-02T05:00:00+00:00") == ["cccccc"]
    assert found(status="finished") == [run.run[-6:] for run in runs]
    assert found(status="running") == []
    assert [run.name for run in filter_runs(runs, tags=["main"])] == ["base", "base"]
    assert filter_runs(runs, tags=["main", "pr-12"]) == []


@pytest.mark.parametrize(
    ("since", "n_found"),
    [
        ("90m", 1),
        ("2h", 2),
        ("7200s", 2),
        ("1d", 5),
        ("1w", 5),
        ("2026-01-02", 5),
        ("2026-01-03", 0),
    ],
)
def test_since_is_an_age_or_a_date(runs: Sequence[Run], since: str, n_found: int) -> None:
    now = START + timedelta(hours=5)

    assert len(filter_runs(runs, since=since, now=now)) == n_found


@pytest.mark.parametrize(
    "conditions", [{"since": "soon"}, {"since": "999999w"}, {"status": "alive"}]
)
def test_a_condition_that_cannot_be_understood_is_an_error(
    runs: Sequence[Run], conditions: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match=r"cannot understand since|is unknown; use"):
        filter_runs(runs, **conditions, now=datetime(2026, 1, 2, tzinfo=UTC))


def test_the_shortest_selector_selects_the_run(tmp_path: Path) -> None:
    for run, project in (("20260102-030405-aaaaaa", "a"), ("20260109-030405-aaaaaa", "a")):
        RunBuilder(store=tmp_path, run=run, project=project).write()
    RunBuilder(store=tmp_path, run="twice", project="a").write()
    RunBuilder(store=tmp_path, run="twice", project="b").write()
    runs = list_runs(tmp_path)

    for run in runs:
        assert select_run(runs, shortest_selector(runs, run)) is run


def test_an_unreadable_run_is_selected_by_its_id_which_says_its_age_too(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path).write()
    (path / "run.json").write_text("{")
    runs = list_runs(tmp_path)

    assert select_run(runs, "aaaaaa").status == "unreadable"
    assert filter_runs(runs, since="2026-01-02") == runs
    assert filter_runs(runs, since="2026-01-03") == []
    assert issubclass(RunNotFound, TelemetryError)


def test_the_latest_run_is_the_latest_though_its_manifest_cannot_be_read(tmp_path: Path) -> None:
    RunBuilder(store=tmp_path, run="20260102-030405-aaaaaa").write()
    newest = RunBuilder(store=tmp_path, run="20260103-030405-bbbbbb").write()
    (newest / "run.json").write_text("[]")
    assert select_run(list_runs(tmp_path), "latest").run == newest.name.removeprefix("run=")
