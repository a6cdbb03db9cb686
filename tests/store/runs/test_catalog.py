"""Runs of a store, whatever their folders and manifests hold."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from synthetic import START, RunBuilder

from telemetry.format.manifest import Status, utc_text
from telemetry.store.runs.catalog import list_runs, load_run


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    for run, hours in (("a", 1), ("b", 3), ("c", 2)):
        RunBuilder(store=tmp_path, run=run, started=START + timedelta(hours=hours)).write()

    assert [run.run for run in list_runs(tmp_path)] == ["b", "c", "a"]


def test_folders_that_are_no_runs_are_left_out(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path, run="a").write()
    (path.parent / "run=empty").mkdir()
    (path.parent / "run=b=c").mkdir()
    (path.parent / "notes").mkdir()
    (tmp_path / "project=%2e").mkdir()
    (tmp_path / ".telemetry").mkdir()
    (tmp_path / "file").write_text("x")

    assert [run.run for run in list_runs(tmp_path)] == ["a"]
    assert list_runs(tmp_path / "missing") == []


def test_a_run_shows_what_its_manifest_says(tmp_path: Path) -> None:
    builder = RunBuilder(
        store=tmp_path, project="my project", name="x", tags=("t",), config={"lr": 0.1}
    )
    run = load_run(builder.losses([2.0, 1.0]).write())

    assert (run.project, run.name, run.tags, run.config) == ("my project", "x", ("t",), {"lr": 0.1})
    assert run.steps == 2
    assert run.finding_counts is None
    assert run.short == "aaaaaa"
    assert run.to_json()["status"] == "finished"
    assert run.to_json()["metrics"] == {"loss": {"last": 1.0, "best": 1.0, "best_step": 1}}


def test_an_unreadable_run_is_listed_with_the_reason(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path).write()
    (path / "run.json").write_text("[]")

    run = load_run(path)

    assert run.status is Status.UNREADABLE
    assert "expected an object" in run.reason
    assert (run.name, run.project) == (run.run, "demo")
    assert run.started == "2026-01-02T03:04:05+00:00", "its id says so"
    assert (run.steps, run.tags, run.config, run.metrics) == (0, (), {}, {})
    assert run.finding_counts is None


def test_a_silent_run_of_another_host_is_killed(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path).write(status=Status.RUNNING)
    heartbeat = START + timedelta(minutes=1)

    assert load_run(path, now=heartbeat + timedelta(seconds=100)).status is Status.RUNNING
    assert load_run(path, now=heartbeat + timedelta(seconds=200)).status is Status.KILLED


def test_a_clock_set_back_does_not_kill_a_run(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path).write(status=Status.RUNNING)
    manifest = json.loads((path / "run.json").read_text())
    manifest["heartbeat"] = utc_text(datetime.now(UTC) + timedelta(days=3650))
    (path / "run.json").write_text(json.dumps(manifest))

    assert load_run(path).status is Status.RUNNING
    assert load_run(path, now=datetime.now(UTC) + timedelta(hours=1)).status is Status.KILLED


@pytest.mark.parametrize("summary", [{"metrics": 3, "steps": "x", "findings": []}, {}])
def test_a_summary_of_other_types_counts_as_none(tmp_path: Path, summary: object) -> None:
    path = RunBuilder(store=tmp_path).write()
    manifest = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**manifest, "summary": summary}))

    run = load_run(path)

    assert (run.metrics, run.steps, run.finding_counts) == ({}, 0, None)


def test_the_steps_of_a_run_that_nobody_closed_are_those_on_disk(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path, run="a").losses([1.0] * 40).write(status=Status.RUNNING)
    manifest = json.loads((path / "run.json").read_text())
    manifest["summary"] = {"steps": 3}  # of the last heartbeat
    (path / "run.json").write_text(json.dumps(manifest))
    assert load_run(path).steps == 40
    (shard,) = (path / "steps" / "rank=0").iterdir()
    shard.write_bytes(b"torn")
    assert load_run(path).steps == 3
    shard.unlink()
    assert load_run(path).steps == 3
