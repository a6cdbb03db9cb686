"""Stored diagnoses are served while the run and the rules are the same."""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import START, RunBuilder

from telemetry.diagnose.finding import Finding, Severity
from telemetry.format.manifest import Status
from telemetry.json_values import Json
from telemetry.store.files import locks
from telemetry.store.runs import findings_cache
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.findings_cache import read_findings, store_findings
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

KEYS = {"detector_version": "1", "options_hash": "default"}


def kept_rows(run: Run, *, detector_version: str, options_hash: str) -> list[dict[str, Json]]:
    kept = read_findings(run, detector_version=detector_version, options_hash=options_hash)
    assert kept is not None
    return kept.rows


DEAD = Finding(
    detector="dead_units",
    severity=Severity.WARNING,
    message="0.9 of the units of conv1 are dead",
    advice="lower the learning rate",
    layer="conv1",
    layers=("conv1", "conv2"),
    first_step=3,
    last_step=9,
    value=0.9,
    threshold=0.5,
    unit="share",
    evidence={"rows": [1, 2.5], "nested": {"a": None}},
    consequence_of="learning_rate_too_high",
).to_json()
ROOT = Finding(
    detector="learning_rate_too_high", severity=Severity.ERROR, message="m", advice="a"
).to_json()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return load_run(RunBuilder(store=tmp_path).losses([1.0, 2.0]).write())


def plain(row: Mapping[str, Json]) -> Json:
    return json.loads(json.dumps(row))


def shown(store: Path) -> list[str]:
    opened = Store.open(store)
    with opened.session(opened.runs()) as session:
        return session.query("SELECT detector FROM findings ORDER BY detector").texts("detector")


def test_findings_come_back_as_they_were_stored(run: Run) -> None:
    assert store_findings(run, [ROOT, DEAD], **KEYS)

    assert kept_rows(run, **KEYS) == [plain(DEAD), plain(ROOT)]


def test_a_diagnosis_without_findings_is_stored_too(run: Run) -> None:
    assert read_findings(run, **KEYS) is None

    store_findings(run, [], **KEYS)

    assert kept_rows(run, **KEYS) == []


@pytest.mark.parametrize("key", KEYS)
def test_other_rules_or_options_are_not_served(run: Run, key: str) -> None:
    store_findings(run, [DEAD], **KEYS)

    assert read_findings(run, **{**KEYS, key: "other"}) is None


def test_a_new_shard_makes_a_stored_diagnosis_invalid(run: Run, tmp_path: Path) -> None:
    store_findings(run, [DEAD], **KEYS)
    assert shown(tmp_path) == ["dead_units"]

    RunBuilder(store=tmp_path).metric("val_loss", {1: 2.0}).write()

    assert read_findings(run, **KEYS) is None
    assert shown(tmp_path) == []


def test_what_is_written_after_training_leaves_a_stored_diagnosis_valid(
    run: Run, tmp_path: Path
) -> None:
    store_findings(run, [DEAD], **KEYS)

    RunBuilder(store=tmp_path).add(
        "example_evals",
        eval_id="e",
        checkpoint="c",
        dataset="d",
        hypothesis="",
        example_id="1",
        input_digest="i",
        written_at=START,
    ).write()

    assert shown(tmp_path) == ["dead_units"]


def test_the_view_shows_the_newest_diagnosis_only(run: Run, tmp_path: Path) -> None:
    store_findings(run, [DEAD], **KEYS)
    store_findings(run, [ROOT], detector_version="2", options_hash="default")

    assert shown(tmp_path) == ["learning_rate_too_high"]
    assert kept_rows(run, **KEYS) == [plain(DEAD)]

    store_findings(run, [], **KEYS)
    assert shown(tmp_path) == []


def test_the_same_diagnosis_is_kept_once_with_what_else_it_says(run: Run) -> None:
    for state in ("stalled", "learning", "learning"):
        store_findings(run, [DEAD, ROOT], outcomes={"state": state, "passed": []}, **KEYS)
    stored = list((run.ref.path / "findings" / "rank=0").glob("*.parquet"))
    assert len(stored) == 1
    kept = read_findings(run, **KEYS)
    assert kept is not None
    assert kept.outcomes == {"state": "learning", "passed": []}
    assert {row["detector"] for row in kept.rows} == {"dead_units", "learning_rate_too_high"}


def test_old_diagnoses_are_dropped(run: Run) -> None:
    for version in range(12):
        store_findings(run, [DEAD], detector_version=str(version), options_hash="")

    stored = list((run.ref.path / "findings" / "rank=0").glob("*.parquet"))

    assert len(stored) == findings_cache.KEPT_SETS
    assert read_findings(run, detector_version="11", options_hash="") is not None
    assert read_findings(run, detector_version="0", options_hash="") is None


def test_counts_enter_the_manifest(run: Run) -> None:
    store_findings(run, [ROOT, DEAD], **KEYS)

    again = load_run(run.ref.path)

    assert again.finding_counts == {"error": 1, "warning": 1, "info": 0}
    assert again.metrics == run.metrics
    assert again.status is Status.FINISHED


def test_a_running_run_is_not_stored(run: Run) -> None:
    assert not store_findings(replace(run, status=Status.RUNNING), [DEAD], **KEYS)
    assert not (run.ref.path / "findings").exists()


def test_a_run_without_a_readable_manifest_is_not_stored(run: Run) -> None:
    (run.ref.path / "run.json").write_text("{")

    assert not store_findings(load_run(run.ref.path), [DEAD], **KEYS)


def test_the_manifest_of_a_run_that_may_come_back_is_left_alone(tmp_path: Path) -> None:
    path = RunBuilder(store=tmp_path).losses([1.0]).write(status=Status.RUNNING)
    before = (path / "run.json").read_bytes()
    run = load_run(path)
    assert run.status is Status.KILLED  # its host is another one, its heartbeat is old

    assert store_findings(run, [DEAD], **KEYS)

    assert (path / "run.json").read_bytes() == before
    assert read_findings(run, **KEYS) is not None


def test_the_manifest_of_a_killed_process_of_this_host_gets_the_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = RunBuilder(store=tmp_path).losses([1.0]).write(status=Status.RUNNING)
    monkeypatch.setattr("telemetry.format.manifest.is_alive", lambda _attempt: False)

    store_findings(load_run(path), [DEAD], **KEYS)

    assert load_run(path).finding_counts == {"error": 0, "warning": 1, "info": 0}
    assert json.loads((path / "run.json").read_text())["status"] == "running"


def test_a_lock_that_is_held_means_that_somebody_else_stores(run: Run) -> None:
    descriptor = os.open(run.ref.path / locks.LOCK_NAME, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert not store_findings(run, [DEAD], **KEYS)
    finally:
        os.close(descriptor)
    assert store_findings(run, [DEAD], **KEYS)


def test_a_lock_that_is_a_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    (run.ref.path / locks.LOCK_NAME).symlink_to(tmp_path / "victim")

    assert not store_findings(run, [DEAD], **KEYS)
    assert not (tmp_path / "victim").exists()


def test_a_disk_that_refuses_costs_the_cache_only(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(findings_cache, "write_shard", refuse)

    assert not store_findings(run, [DEAD], **KEYS)
    assert read_findings(run, **KEYS) is None


def test_a_torn_diagnosis_is_made_again(run: Run, tmp_path: Path) -> None:
    store_findings(run, [DEAD], **KEYS)
    (shard,) = (run.ref.path / "findings" / "rank=0").glob("*.parquet")
    shard.write_bytes(b"PAR1")

    assert read_findings(run, **KEYS) is None
    assert shown(tmp_path) == []
