import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from recorded import run_settings

from telemetry.capture.writer.claims import Claim, claim_run
from telemetry.capture.writer.run_folder import MANIFEST_BYTES, Progress, RunFolder, bounded
from telemetry.format.manifest import Manifest, Status, encoded, inferred_status, read_manifest
from telemetry.format.ownership import doubt
from telemetry.format.runs import new_shard_name
from telemetry.format.shards import Shard
from telemetry.format.tables import table
from telemetry.json_values import Json


def begin(store: Path, *, run: str = "r", **changes: object) -> RunFolder:
    settings = run_settings(store, **changes)
    claim = claim_run(store, settings.project, run, rank=settings.rank, strict=False)
    return RunFolder(claim, settings)


def close(folder: RunFolder, progress: Progress) -> Manifest:
    folder.write(progress, status=Status.FINISHED)
    folder.claim.end()
    return read_manifest(folder.path)


def shard(folder: RunFolder, *, first: int = 0, last: int = 9) -> tuple[str, Shard]:
    name = new_shard_name(first=first, last=last, attempt=folder.claim.attempt)
    path = folder.path / "steps" / "rank=0" / str(name)
    return "steps", Shard(
        path=path, name=name, rows=10, n_bytes=99, min_step=first, max_step=last, blake2b="ab"
    )


def metric(last: float, best: float, best_step: int) -> dict[str, Json]:
    return {"last": last, "best": best, "best_step": best_step}


def test_a_run_is_known_before_its_first_step(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    folder.write(Progress())
    manifest = read_manifest(folder.path)
    assert manifest.status is Status.RUNNING
    assert manifest.attempts == ()
    assert manifest.owner == folder.claim.owner
    assert (manifest.name, manifest.project, manifest.tags) == ("base", "demo", ("a",))
    assert manifest.config == {"lr": 0.1}
    assert manifest.total_steps == 100


@pytest.mark.parametrize(
    ("name", "script", "shown"),
    [("mine", "train.py", "mine"), (None, "train.py", "train"), (None, "", "abcdef")],
)
def test_a_run_without_a_name_is_called_after_its_script_or_itself(
    tmp_path: Path, name: str | None, script: str, shown: str
) -> None:
    run = "20260102-030405-abcdef"
    folder = begin(tmp_path, run=run, name=name, environment={"script": script})
    folder.write(Progress())
    assert read_manifest(folder.path).name == shown


def test_the_attempt_enters_with_its_first_step(tmp_path: Path) -> None:
    folder = begin(tmp_path, environment={"product": "1.2"}, world_size=4)
    folder.write(Progress(first_step=7, last_step=9))
    (attempt,) = read_manifest(folder.path).attempts
    assert (attempt.attempt, attempt.start_step, attempt.last_step) == (1, 7, 9)
    assert (attempt.ended, attempt.world_size) == (None, 4)
    assert attempt.writer == "training-telemetry 1.2"


def test_the_end_is_told_with_everything(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    progress = Progress(
        first_step=0,
        last_step=9,
        shards=[shard(folder)],
        metrics={"loss": metric(0.2, 0.1, 5)},
        n_steps=10,
        loss_to=8,
        loss_trend=[0.3, 0.2],
        summary={"overhead_share": 0.004},
        environment={"git_commit": "abc"},
        dropped_rows=3,
    )
    folder.write(progress, status=Status.FAILED, error={"type": "E", "message": "m" * 9999})
    manifest = read_manifest(folder.path)
    assert manifest.status is Status.FAILED
    assert manifest.closed
    assert manifest.ended == manifest.heartbeat == manifest.attempts[0].ended
    assert manifest.error == {"type": "E", "message": "m" * 4000}
    assert manifest.environment == {"python": "3", "git_commit": "abc"}
    assert manifest.summary == {
        "overhead_share": 0.004,
        "metrics": {"loss": metric(0.2, 0.1, 5)},
        "loss_to": 8,
        "loss_trend": [0.3, 0.2],
        "steps": 10,
        "dropped_rows": 3,
    }
    (name, entry) = next(iter(manifest.files.items()))
    assert name == "steps"
    assert isinstance(entry, list)
    path = progress.shards[0][1].path
    assert entry[0] == {
        "path": str(path.relative_to(folder.path)),
        "rank": 0,
        "attempt": 1,
        "level": 0,
        "rows": 10,
        "bytes": 99,
        "min_step": 0,
        "max_step": 9,
        "schema": table("steps").version,
        "blake2b": "ab",
    }


def test_a_resumed_run_keeps_what_it_was(tmp_path: Path) -> None:
    first = begin(tmp_path, tags=("a",), config={"lr": 0.1})
    former = close(
        first,
        Progress(first_step=0, last_step=9, n_steps=10, shards=[shard(first)]),
    )
    second = begin(tmp_path, name=None, tags=("b", "a"), config={}, total_steps=None)
    second.write(Progress())
    before = read_manifest(second.path)
    assert (before.status, before.ended, before.closed) == (Status.RUNNING, None, False)
    assert (before.started, before.name) == (former.started, "base")
    assert (before.tags, before.config, before.total_steps) == (("a", "b"), {"lr": 0.1}, 100)
    assert before.attempts == former.attempts
    second.write(Progress(first_step=5, last_step=6, n_steps=7, shards=[shard(second)]))
    after = read_manifest(second.path)
    assert [a.attempt for a in after.attempts] == [1, 2]
    assert [a.start_step for a in after.attempts] == [0, 5]
    files = after.files["steps"]
    assert isinstance(files, list)
    assert [entry["attempt"] for entry in files if isinstance(entry, dict)] == [1, 2]


def test_a_resumed_run_may_be_given_new_settings(tmp_path: Path) -> None:
    first = begin(tmp_path)
    close(first, Progress())
    second = begin(tmp_path, name="better", config={"lr": 0.2}, total_steps=7)
    second.write(Progress())
    manifest = read_manifest(second.path)
    assert (manifest.name, manifest.config, manifest.total_steps) == ("better", {"lr": 0.2}, 7)


def test_the_summary_forgets_what_a_resumed_run_did_again(tmp_path: Path) -> None:
    first = begin(tmp_path)
    metrics = {"loss": metric(0.3, 0.3, 9), "val_accuracy": metric(0.5, 0.9, 2)}
    close(
        first,
        Progress(
            first_step=0,
            last_step=9,
            n_steps=10,
            metrics=metrics,
            summary={"findings": {"error": 1}},
        ),
    )
    second = begin(tmp_path)
    second.write(Progress())
    assert read_manifest(second.path).summary["metrics"] == metrics
    assert "findings" not in read_manifest(second.path).summary
    progress = Progress(first_step=5, last_step=5, n_steps=6)
    progress.metrics = {"val_accuracy": metric(0.8, 0.8, 5), "extra": metric(1.0, 1.0, 5)}
    second.write(progress)
    summary = read_manifest(second.path).summary
    assert summary["steps"] == 6
    assert summary["metrics"] == {
        "val_accuracy": metric(0.8, 0.9, 2),
        "extra": metric(1.0, 1.0, 5),
    }


def test_other_tools_keys_survive(tmp_path: Path) -> None:
    first = begin(tmp_path)
    close(first, Progress())
    path = first.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "explain": {"n": 1}}))
    second = begin(tmp_path)
    second.write(Progress())
    manifest = read_manifest(second.path)
    assert manifest.extra["explain"] == {"n": 1}
    # Who goes on with a run does not say that its code is their own.
    assert doubt(manifest.run, manifest.project, manifest.extra) is not None


def test_a_conflict_is_in_the_manifest(tmp_path: Path) -> None:
    begin(tmp_path)
    second = begin(tmp_path)
    second.write(Progress())
    assert read_manifest(second.path).conflict_of == "r"


def test_another_rank_writes_a_file_of_its_own(tmp_path: Path) -> None:
    begin(tmp_path).write(Progress())
    before = (tmp_path / "project=demo" / "run=r" / "run.json").read_bytes()
    rank = begin(tmp_path, rank=3, world_size=4)
    rank.write(Progress(first_step=0, last_step=1), status=Status.FINISHED)
    document = json.loads((rank.path / "rank-3.json").read_text())
    assert (document["rank"], document["attempt"], document["status"]) == (3, 1, "finished")
    assert document["attempts"][0]["last_step"] == 1
    assert (rank.path / "run.json").read_bytes() == before


def test_a_deleted_run_is_not_made_again(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    for path in folder.path.iterdir():
        path.unlink()
    folder.path.rmdir()
    with pytest.raises(FileNotFoundError):
        folder.write(Progress())
    assert not folder.path.exists()


def test_the_process_of_a_running_run_is_looked_up(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    gone = dataclasses.replace(folder.claim.owner, process_start=1)
    claim = Claim(ref=folder.ref, rank=0, attempt=1, owner=gone)
    killed = RunFolder(claim, run_settings(tmp_path))
    killed.write(Progress())
    manifest = read_manifest(folder.path)
    assert inferred_status(manifest, now=datetime.now(UTC)) is Status.KILLED


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"steps": [{"path": "x" * 200}] * 401}},
        {"files": {"steps": [{"path": "x" * 2000}] * 200}},
        {"summary": {"metrics": {f"m{i}": {"last": 0.5} for i in range(20_000)}}},
        {"config": {f"k{i}": "x" * 100 for i in range(5000)}},
    ],
)
def test_a_manifest_stays_small(tmp_path: Path, changes: dict[str, object]) -> None:
    folder = begin(tmp_path)
    progress = Progress(first_step=0)
    manifest = folder.manifest(progress, now="now", status=Status.RUNNING, error=None)
    small = bounded(dataclasses.replace(manifest, **changes))
    assert len(encoded(small.to_json())) <= MANIFEST_BYTES
    assert small.files == {}
    assert small.attempts == manifest.attempts


def test_a_small_manifest_is_left_alone(tmp_path: Path) -> None:
    folder = begin(tmp_path)
    progress = Progress(first_step=0, shards=[shard(folder)])
    manifest = folder.manifest(progress, now="now", status=Status.RUNNING, error=None)
    assert bounded(manifest) is manifest


def test_endless_tags_and_names_are_cut(tmp_path: Path) -> None:
    folder = begin(tmp_path, name="n" * 999, tags=tuple(f"{i}" * 300 for i in range(100)))
    folder.write(Progress())
    manifest = read_manifest(folder.path)
    assert len(manifest.name) == 200
    assert len(manifest.tags) == 50
    assert max(len(tag) for tag in manifest.tags) == 200
