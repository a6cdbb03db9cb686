"""Which run a restarted training goes on with."""

import json
import os
from pathlib import Path

import pytest
from loops import records
from resumable import Job, messages, run_of, steps_by_attempt

from telemetry.errors import RunNotFound, StoreUnreadable, UsageError
from telemetry.format.manifest import read_manifest
from telemetry.format.runs import RUN_ID_VARIABLE
from telemetry.store.store import Store


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN_ID_VARIABLE, raising=False)
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def test_auto_begins_a_run_where_none_is_unfinished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = Job(tmp_path / "new", resume="auto").train(1)
    job.telemetry.close()
    again = Job(tmp_path / "new", resume="auto").train(1)
    assert again.telemetry.run != job.telemetry.run
    beside = Job(tmp_path / "new", resume="auto").train(1)  # that one is being recorded
    assert len({one.telemetry.run for one in (job, again, beside)}) == 3
    for one in (again, beside):
        one.telemetry.close()
    assert caplog.records == []


@pytest.mark.parametrize("other", [{"name": "another"}, {"project": "another"}])
def test_auto_leaves_what_is_called_otherwise(tmp_path: Path, other: dict[str, object]) -> None:
    failed = Job(tmp_path).train(1).fail()
    job = Job(tmp_path, resume="auto", **other).train(1)
    job.telemetry.close()
    assert job.telemetry.run != failed.telemetry.run
    assert job.telemetry.path is not None
    assert messages(job.telemetry.path) == []


def test_auto_takes_the_newest_of_the_same_config(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [Job(tmp_path, config={"lr": lr}).train(1).fail() for lr in (0.1, 0.1, 0.2)]
    job = Job(tmp_path, config={"lr": 0.1}, resume="auto").train(1).fail()
    assert job.telemetry.run == runs[1].telemetry.run
    assert caplog.records == []
    new = Job(tmp_path, config={"lr": 0.3}, resume="auto").train(1).fail()
    assert new.telemetry.run not in {one.telemetry.run for one in runs}
    assert (
        f"unfinished run {runs[2].telemetry.run} has another config (lr 0.2 → 0.3)" in caplog.text
    )


def test_a_run_is_named_by_its_id_or_the_beginning_of_it(tmp_path: Path) -> None:
    first = Job(tmp_path).train(2)
    first.telemetry.close()  # finished: more training is asked for by name
    run = str(first.telemetry.run)
    for number, text in enumerate((run, run[:-2], run[-6:], run[-6:-1]), start=1):
        job = Job(tmp_path, resume=text).train(1)
        assert job.telemetry.run == run
        job.telemetry.close()
        assert steps_by_attempt(tmp_path)[-1] == (number + 1, number + 1)
    assert run_of(tmp_path).steps == 6


def test_a_new_config_of_a_resumed_run_is_told(tmp_path: Path) -> None:
    first = Job(tmp_path, config={"lr": 0.1, "a": {"b": 1}}).train(2).fail()
    job = Job(tmp_path, config={"lr": 0.2, "a": {"b": 1}}, resume=str(first.telemetry.run)).train(1)
    job.telemetry.close()
    assert job.telemetry.path is not None
    (event,) = [row for row in records(job.telemetry.path, "events") if row["kind"] == "resume"]
    assert "attempt 2 continues at step 2; config: lr 0.1 → 0.2" in str(event["message"])
    assert json.loads(str(event["payload"])) == {
        "step": 2,
        "attempt": 2,
        "config": [{"key": "lr", "before": 0.1, "after": 0.2}],
    }
    assert read_manifest(job.telemetry.path).config == {"lr": 0.2, "a.b": 1}


def test_a_run_that_cannot_be_resumed_is_an_error_that_says_why(tmp_path: Path) -> None:
    open_one = Job(tmp_path).train(1)
    run, path = open_one.telemetry.run, open_one.telemetry.path
    assert run is not None
    assert path is not None
    before = sorted(path.parent.iterdir())
    with pytest.raises(UsageError, match=rf"{run} is being recorded by process {os.getpid()} on"):
        Job(tmp_path, resume=run)
    with pytest.raises(RunNotFound, match=rf"run {run} is in project 'default': pass project"):
        Job(tmp_path, resume=run, project="other")
    with pytest.raises(RunNotFound, match="matches no run of project 'default'"):
        Job(tmp_path, resume="2001-nothing")
    with pytest.raises(RunNotFound, match="At least 4 characters"):
        Job(tmp_path, resume=run[:3])
    open_one.telemetry.close()
    second = Job(tmp_path).train(1)
    second.telemetry.close()
    with pytest.raises(RunNotFound, match=r"matches 2 runs: .*; pass the whole id") as caught:
        Job(tmp_path, resume=run[:8])
    assert set(caught.value.candidates) == {run, second.telemetry.run}
    manifest = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(
        StoreUnreadable, match="format 99, but this version reads format 1; upgrade"
    ):
        Job(tmp_path, resume=run)
    assert len(list(path.parent.iterdir())) == len(before) + 1


def test_an_id_given_from_outside_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Job(tmp_path).train(1).fail()
    monkeypatch.setenv(RUN_ID_VARIABLE, "mine")
    for _ in range(3):
        job = Job(tmp_path, resume="auto").train(2)
        assert job.telemetry.run == "mine"
        job.telemetry.close()
    assert steps_by_attempt(tmp_path, "mine") == [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3)]


def test_the_state_of_another_run_gives_the_step_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Job(tmp_path).train(4)
    checkpoint = first.save(tmp_path / "checkpoint.pt")
    first.fail()
    job = Job(tmp_path, checkpoint=checkpoint).train(2)
    job.telemetry.close()
    assert job.telemetry.run != first.telemetry.run
    assert steps_by_attempt(tmp_path, job.telemetry.run) == [(4, 1), (5, 1)]
    assert len(steps_by_attempt(tmp_path, first.telemetry.run)) == 4
    assert f"pass resume='{first.telemetry.run}'" in caplog.text
    assert job.telemetry.path is not None
    (message,) = messages(job.telemetry.path)
    assert f"the checkpoint belongs to run {first.telemetry.run}" in message


def test_auto_goes_over_to_the_run_of_the_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meant = Job(tmp_path).train(4)
    checkpoint = meant.save(tmp_path / "checkpoint.pt")
    meant.train(2).fail()
    newer = Job(tmp_path).train(3).fail()
    before = (newer.telemetry.path or tmp_path) / "run.json"
    manifest = read_manifest(before.parent)
    job = Job(tmp_path, checkpoint=checkpoint, resume="auto").train(1)
    job.telemetry.close()
    assert job.telemetry.run == meant.telemetry.run
    assert steps_by_attempt(tmp_path, job.telemetry.run)[3:] == [(3, 1), (4, 2)]
    assert read_manifest(before.parent) == manifest
    assert len(steps_by_attempt(tmp_path, newer.telemetry.run)) == 3
    assert caplog.records == []


def test_auto_leaves_no_empty_run_behind(tmp_path: Path) -> None:
    first = Job(tmp_path, config={"lr": 0.1}).train(4)
    checkpoint = first.save(tmp_path / "checkpoint.pt")
    first.fail()
    job = Job(tmp_path, config={"lr": 0.2}, checkpoint=checkpoint, resume="auto").train(1)
    job.telemetry.close()
    assert [run.run for run in Store.open(tmp_path).runs()] == [first.telemetry.run]
    assert steps_by_attempt(tmp_path)[-1] == (4, 2)
    assert "config: lr 0.1 → 0.2" in messages(job.telemetry.path or tmp_path)[0]
