import errno
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from recorded import (
    TensorPacket,
    metric_row,
    rows_of,
    run_settings,
    shard_ranges,
    step_rows,
    steps_of,
)
from writer_rig import START_S, Rig

from telemetry.capture.writer.claims import claim_run
from telemetry.capture.writer.loop import (
    QUEUED_BYTES_LIMIT,
)
from telemetry.capture.writer.run_folder import Progress, RunFolder
from telemetry.format import shards
from telemetry.format.manifest import Status
from telemetry.store.runs.catalog import load_run


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_flush_holds_whole_steps_and_the_ranges_are_without_holes(rig: Rig) -> None:
    rig.train(range(5))
    rig.queue.put(TensorPacket(step=5))  # the step is not over
    rig.loop.turn(START_S + 1)
    rig.queue.put(step_rows(range(5, 6)))
    rig.queue.mark_step(5)
    rig.train(range(6, 8))
    rig.loop.turn(START_S + 2)
    assert shard_ranges(rig.run, "tensor_stats") == [(0, 4), (5, 7)]
    assert steps_of(rig.run) == list(range(8))
    assert sorted(set(steps_of(rig.run, "tensor_stats"))) == list(range(8))


def test_nothing_is_written_before_its_time(rig: Rig) -> None:
    rig.train(range(5))
    assert not rig.loop.turn(START_S + 0.5)
    assert shard_ranges(rig.run, "steps") == []
    assert rig.loop.due_s == START_S + 1


def test_a_flush_on_demand_writes_everything(rig: Rig) -> None:
    rig.train(range(3))
    rig.queue.put(TensorPacket(step=3))
    assert rig.loop.turn(START_S, flush=True)
    assert max(steps_of(rig.run, "tensor_stats")) == 3


def test_the_first_step_enters_the_manifest_at_once(rig: Rig) -> None:
    rig.queue.mark_step(40)
    rig.loop.turn(START_S + 0.1)
    (attempt,) = rig.manifest.attempts
    assert (attempt.start_step, attempt.last_step) == (40, 40)


def test_the_heart_beats_every_half_minute(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    beats_s: list[float] = []
    now_s = START_S
    write = rig.folder.write

    def written(*arguments: object, **keywords: object) -> None:
        beats_s.append(now_s - START_S)
        write(*arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(rig.folder, "write", written)
    rig.queue.mark_step(0)
    for tick in range(100):
        now_s = START_S + tick
        rig.loop.turn(now_s)
    assert beats_s == [0, 30, 60, 90]
    rig.loop.summary["overhead_share"] = 0.005
    rig.train(range(1, 3))
    now_s += 30
    rig.loop.turn(now_s)
    assert rig.manifest.summary["overhead_share"] == 0.005
    assert rig.manifest.summary["steps"] == 3


def test_the_end_writes_what_is_left(rig: Rig) -> None:
    rig.train(range(3))
    rig.queue.put(metric_row(2, "val_accuracy", 0.9))
    rig.loop.last_turn(START_S, Status.FAILED, {"type": "ValueError", "message": "no"})
    manifest = rig.manifest
    assert manifest.status is Status.FAILED
    assert manifest.closed
    assert manifest.error == {"type": "ValueError", "message": "no"}
    assert set(manifest.files) == {"metrics", "steps", "tensor_stats"}
    assert manifest.summary["metrics"] == {
        "loss": {"last": 1 / 3, "best": 1 / 3, "best_step": 2},
        "val_accuracy": {"last": 0.9, "best": 0.9, "best_step": 2},
    }
    assert rig.loop.failure is None
    assert json.loads(rig.folder.claim.path.read_text())["ended"] is True


def test_a_run_without_a_step_has_no_attempt_and_no_tables(rig: Rig) -> None:
    rig.loop.last_turn(START_S, Status.FINISHED, None)
    assert rig.manifest.attempts == ()
    assert rig.manifest.files == {}
    assert rig.manifest.summary["steps"] == 0


class Broken(TensorPacket):
    """A packet that cannot be turned into rows."""

    def rows(self) -> list[tuple[str, pa.Table]]:
        raise RuntimeError("device is gone")


def test_a_broken_packet_costs_only_itself_and_is_told_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.train(range(2))
    for step in (2, 3):
        rig.queue.put(Broken(step=step))
    rig.train(range(4, 5))
    rig.loop.last_turn(START_S, Status.FINISHED, None)
    assert steps_of(rig.run) == [0, 1, 4]
    (event,) = rows_of(rig.run, "events")
    assert event["kind"] == "telemetry_error"
    assert "device is gone" in str(event["message"])
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    assert str(rig.loop.failure) == "device is gone"


@dataclass
class Joint(TensorPacket):
    """A packet that is made with others."""

    companions: str = "all"
    calls: list[list[int]] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        return self.step

    @staticmethod
    def rows_of(packets: "Sequence[Joint]") -> list[tuple[str, pa.Table]]:
        packets[0].calls.append([packet.step for packet in packets])
        if packets[0].companions == "broken":
            raise RuntimeError("do not fit together")
        return [("tensor_stats", pa.concat_tables([p.rows()[0][1] for p in packets]))]


def test_packets_of_one_turn_are_made_together(rig: Rig) -> None:
    calls: list[list[int]] = []
    for step in range(5):
        rig.queue.put(Joint(step=step, calls=calls, n_bytes=2 * 1024 * 1024))
    rig.queue.mark_step(3)  # step 4 may not be over: its rows may have to wait
    rig.loop.last_turn(START_S, Status.FINISHED, None)
    assert calls == [[0, 1], [2, 3]]
    assert sorted(row["step"] for row in rows_of(rig.run, "tensor_stats"))[::4] == [0, 1, 2, 3, 4]


def test_packets_that_cannot_be_made_together_are_made_alone(rig: Rig) -> None:
    for step in range(3):
        rig.queue.put(Joint(step=step, companions="broken"))
    rig.queue.mark_step(2)
    rig.loop.last_turn(START_S, Status.FINISHED, None)
    assert sorted(row["step"] for row in rows_of(rig.run, "tensor_stats"))[::4] == [0, 1, 2]
    (event,) = rows_of(rig.run, "events")
    assert "one by one: RuntimeError: do not fit together" in str(event["message"])


def test_refused_packets_are_told_and_counted(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.train(range(1))
    rig.queue.put(TensorPacket(step=1, n_bytes=2 * QUEUED_BYTES_LIMIT))
    rig.queue.put(TensorPacket(step=1, n_bytes=2 * QUEUED_BYTES_LIMIT))
    rig.loop.turn(START_S + 1)
    assert rig.manifest.summary["dropped_packets"] == 2
    (event,) = rows_of(rig.run, "events")
    assert (event["kind"], event["payload"]) == ("dropped", '{"packets": 2}')
    assert "samples are dropped" in caplog.text
    rig.loop.last_turn(START_S + 2, Status.FINISHED, None)
    assert "0 rows and 2 packets were lost" in str(rig.loop.failure)


def failing_sync(error: int) -> Callable[[int], None]:
    def fsync(_: int) -> None:
        raise OSError(error, os.strerror(error))

    return fsync


def test_a_full_disk_at_the_end_is_told_and_ends_nothing_else(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig.folder.write(rig.loop._progress)
    rig.train(range(3))
    monkeypatch.setattr(os, "fsync", failing_sync(errno.ENOSPC))
    rig.loop.last_turn(START_S, Status.FINISHED, None)
    assert rig.manifest.status is Status.RUNNING  # the former manifest, whole
    assert list(rig.run.rglob("*.parquet")) == []
    warnings = [record.getMessage() for record in caplog.records]
    assert len([text for text in warnings if "No space left" in text]) == 2  # rows, manifest
    assert rig.loop.failure is not None


def test_a_disk_with_little_room_at_the_end_is_told_in_the_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rows have no room; an event and the manifest have."""
    rig.train(range(3))
    writing = shards.write_synced

    def refuse(path: Path, content: bytes) -> None:
        if "events" not in path.parts:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        writing(path, content)

    monkeypatch.setattr(shards, "write_synced", refuse)
    rig.loop.last_turn(START_S, Status.FINISHED, None)
    assert rig.manifest.status is Status.FINISHED
    n_lost = rig.manifest.summary["dropped_rows"]
    (told,) = [row for row in rows_of(rig.run, "events") if row["kind"] == "dropped"]
    lost = json.loads(str(told["payload"]))
    assert lost["steps"] == 3
    assert n_lost == sum(count for name, count in lost.items() if not name.endswith(".hist"))
    assert f"{n_lost} rows and 0 packets were lost" in caplog.text
    assert load_run(rig.run).dropped_rows == n_lost
    settings = run_settings(rig.run.parent.parent, run_id="r")
    claim = claim_run(settings.store, "demo", "r", rank=0, strict=True)
    RunFolder(claim, settings).write(Progress(dropped_rows=2, summary={"refused_values": 3}))
    claim.end()
    claim = claim_run(settings.store, "demo", "r", rank=0, strict=True)
    RunFolder(claim, settings).write(Progress(summary={"refused_values": 3}))
    # What is counted is counted over all attempts.
    assert rig.manifest.summary["dropped_rows"] == n_lost + 2
    assert rig.manifest.summary["refused_values"] == 6


def test_a_disk_that_recovers_before_the_end_has_lost_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.train(range(3))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing_sync(errno.EIO))
        for tick in range(1, 60):
            rig.loop.turn(START_S + tick)
    rig.loop.failure = None
    rig.loop.last_turn(START_S + 61, Status.FINISHED, None)
    assert steps_of(rig.run) == [0, 1, 2]
    assert rig.manifest.summary["dropped_rows"] == 0
    assert rig.loop.failure is None


def test_another_rank_writes_its_own_shards_and_nothing_of_rank_zero(tmp_path: Path) -> None:
    zero, one = Rig(tmp_path), Rig(tmp_path, rank=1)
    zero.loop.last_turn(START_S, Status.FINISHED, None)
    before = (zero.run / "run.json").read_bytes()
    one.train(range(2))
    one.loop.last_turn(START_S, Status.FINISHED, None)
    assert steps_of(one.run, rank=1) == [0, 1]
    assert steps_of(one.run, rank=0) == []
    assert (zero.run / "run.json").read_bytes() == before
    assert json.loads((one.run / "rank-1.json").read_text())["rank"] == 1


def test_a_second_attempt_writes_beside_the_first_and_sweeps_its_leftovers(
    tmp_path: Path,
) -> None:
    first = Rig(tmp_path)
    first.train(range(4))
    first.loop.last_turn(START_S, Status.FINISHED, None)
    left = first.run / "steps" / "rank=0" / ".half.part"
    left.touch()
    os.utime(left, (time.time() - 7200,) * 2)
    second = Rig(tmp_path)
    second.loop.begin(None)
    second.train(range(2, 3))
    second.loop.last_turn(START_S, Status.FINISHED, None)
    assert not left.exists()
    assert [(row["attempt"], row["step"]) for row in rows_of(first.run, "steps")] == [
        (1, 0),
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 2),
    ]
    assert shard_ranges(first.run, "steps") == [(0, 3), (2, 2)]
    assert [a.start_step for a in second.manifest.attempts] == [0, 2]


def test_the_state_of_the_repository_is_added_when_it_is_known(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("telemetry.capture.writer.loop.git_state", lambda _: {"git_commit": "abc"})
    rig.loop.begin(tmp_path)
    rig.loop.turn(START_S, flush=True)
    environment = dict(rig.manifest.environment)
    assert "numpy" in environment.pop("packages")
    assert environment == {"python": "3", "git_commit": "abc"}


def test_a_claim_that_cannot_be_rewritten_does_not_matter(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(rig.folder.claim), "end", refuse)
    rig.loop.last_turn(START_S, Status.FINISHED, None)
    assert rig.manifest.closed
