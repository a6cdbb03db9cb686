import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from recorded import TensorPacket, rows_of, run_settings, shard_ranges, steps_of

from telemetry.capture.writer.claims import claim_run
from telemetry.capture.writer.publisher import (
    BUFFER_BYTES,
    BUFFER_ROWS,
    FLUSH_INTERVAL_S,
    Publisher,
)
from telemetry.capture.writer.run_folder import Progress, RunFolder

START_S = 1000.0


class Disk:
    """Refuses to sync files while `error` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: int | None = None
        self.n_tries = 0
        real = os.fsync

        def fsync(descriptor: int) -> None:
            if self.error is None:
                real(descriptor)
                return
            self.n_tries += stat.S_ISREG(os.fstat(descriptor).st_mode)
            raise OSError(self.error, os.strerror(self.error))

        monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def publisher(tmp_path: Path, progress: Progress) -> Publisher:
    settings = run_settings(tmp_path)
    claim = claim_run(tmp_path, "demo", "r", rank=0, strict=False)
    return Publisher(RunFolder(claim, settings), progress, started_s=START_S)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "project=demo" / "run=r"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, publisher: Publisher) -> Iterator[Disk]:
    assert publisher.due_s > 0  # the run folder is made before the disk fails
    return Disk(monkeypatch)  # type: ignore[return-value]


def add_steps(publisher: Publisher, steps: range) -> None:
    records = [{"step": step, "loss": 1 / (step + 1), "flags": 1} for step in steps]
    publisher.buffer.add_records("steps", records)


def add_sample(publisher: Publisher, step: int, n_tensors: int = 4) -> None:
    for name, rows in TensorPacket(step=step, n_tensors=n_tensors).rows():
        publisher.buffer.add(name, rows)


def test_a_run_is_flushed_early_and_then_every_half_minute(publisher: Publisher, run: Path) -> None:
    flushed_s = []
    for tick in range(1300):
        now_s = START_S + tick / 10
        add_steps(publisher, range(tick, tick + 1))
        before = len(shard_ranges(run, "steps"))
        publisher.flush_if_due(now_s, step=tick)
        if len(shard_ranges(run, "steps")) > before:
            flushed_s.append(now_s - START_S)
    assert flushed_s == [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 80.0, 110.0]


def test_after_a_pause_of_the_process_one_flush_is_enough(publisher: Publisher, run: Path) -> None:
    add_steps(publisher, range(3))
    publisher.flush_if_due(START_S + 1000, step=2)
    add_steps(publisher, range(3, 4))
    publisher.flush_if_due(START_S + 1001, step=3)
    assert shard_ranges(run, "steps") == [(0, 2)]
    assert 0 < publisher.due_s - (START_S + 1000) <= FLUSH_INTERVAL_S


def test_many_rows_are_flushed_at_once(publisher: Publisher, run: Path) -> None:
    n = BUFFER_ROWS - 1
    rows = pa.table(
        {"step": pa.array(range(n), pa.int64()), "flags": pa.array([0] * n, pa.int32())}
    )
    publisher.buffer.add("steps", rows)
    publisher.flush_if_due(START_S, step=n)
    assert shard_ranges(run, "steps") == []
    publisher.buffer.add("steps", rows.slice(0, 1))
    publisher.flush_if_due(START_S, step=n)
    assert shard_ranges(run, "steps") == [(0, n)]


def test_many_bytes_are_flushed_at_once(publisher: Publisher, run: Path) -> None:
    add_sample(publisher, 0, n_tensors=30_000)
    publisher.flush_if_due(START_S, step=0)
    assert shard_ranges(run, "tensor_stats") == []
    long_message = "m" * (BUFFER_BYTES - publisher.buffer.n_bytes)
    event = {"step": 0, "kind": "k", "severity": "info", "message": long_message}
    publisher.buffer.add("events", pa.Table.from_pylist([event]))
    publisher.flush_if_due(START_S, step=0)
    assert shard_ranges(run, "tensor_stats") == [(0, 0)]


def test_the_ranges_of_a_table_follow_on_each_other(publisher: Publisher, run: Path) -> None:
    for last in (4, 9, 14):
        add_steps(publisher, range(last - 4, last + 1))
        if last != 9:
            add_sample(publisher, last)
        assert publisher.flush(START_S, step=last, up_to=last)
    assert shard_ranges(run, "steps") == [(0, 4), (5, 9), (10, 14)]
    assert shard_ranges(run, "tensor_stats") == [(0, 4), (5, 14)]


def test_a_later_attempt_begins_its_ranges_where_it_began(
    publisher: Publisher, progress: Progress, run: Path
) -> None:
    progress.first_step = 500
    add_steps(publisher, range(500, 503))
    publisher.flush(START_S, step=502, up_to=502)
    assert shard_ranges(run, "steps") == [(500, 502)]


def test_statistics_of_an_unfinished_step_wait_and_history_does_not(
    publisher: Publisher, run: Path
) -> None:
    add_sample(publisher, 3)
    add_sample(publisher, 4)
    publisher.event("evaluation", "begins", step=4)
    publisher.flush(START_S, step=3, up_to=3)
    assert steps_of(run, "tensor_stats") == [3] * 4
    assert steps_of(run, "events") == [4]
    publisher.flush(START_S, step=4, up_to=4)
    assert shard_ranges(run, "tensor_stats") == [(0, 3), (4, 4)]


def test_flushes_without_a_step_between_them_never_overlap(publisher: Publisher, run: Path) -> None:
    for _ in range(3):
        publisher.event("evaluation", "goes on", step=7)
        publisher.flush(START_S, step=7, up_to=7)
    publisher.event("evaluation", "done", step=8)
    publisher.flush(START_S, step=30, up_to=30)
    assert shard_ranges(run, "events") == [(0, 7), (8, 8), (9, 9), (10, 30)]
    assert len(rows_of(run, "events")) == 4


def test_events_before_the_first_step_have_a_range(publisher: Publisher, run: Path) -> None:
    publisher.event("attach", "begins", step=0)
    publisher.flush(START_S, step=-1, up_to=-1)
    assert shard_ranges(run, "events") == [(0, 0)]


def test_progress_learns_of_shards_metrics_and_steps(
    publisher: Publisher, progress: Progress
) -> None:
    add_steps(publisher, range(4))
    publisher.flush(START_S, step=3, up_to=3)
    ((name, shard),) = progress.shards
    assert (name, shard.rows, shard.max_step) == ("steps", 4, 3)
    assert progress.metrics == {"loss": {"last": 0.25, "best": 0.25, "best_step": 3}}
    assert progress.n_steps == 4


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_rows_outlive_a_disk_that_refuses(
    publisher: Publisher,
    progress: Progress,
    run: Path,
    disk: Disk,
    caplog: pytest.LogCaptureFixture,
    error: int,
) -> None:
    disk.error = error
    for step in range(2):
        add_steps(publisher, range(step, step + 1))
        add_sample(publisher, step)
        assert not publisher.flush(START_S + step, step=step, up_to=step)
    assert list(run.rglob("*.parquet")) == []
    assert list(run.rglob("*.part")) == []
    disk.error = None
    assert publisher.flush(START_S + 2, step=2, up_to=2)
    assert steps_of(run) == [0, 1]
    assert sorted(steps_of(run, "tensor_stats")) == [0] * 4 + [1] * 4
    assert progress.dropped_rows == 0
    assert len(caplog.records) == 1
    assert os.strerror(error) in caplog.text
    (event,) = rows_of(run, "events")
    assert event["kind"] == "flush"
    assert f'"errno": {error}' in str(event["payload"])


def test_every_try_has_a_file_of_its_own(
    publisher: Publisher, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    real = os.open

    def watched(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith(".part"):
            names.append(str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", watched)
    disk.error = errno.EIO
    add_steps(publisher, range(1))
    for _ in range(3):
        publisher.flush(START_S, step=0, up_to=0)
    assert len(set(names)) == len(names) == 3


def test_three_failures_are_followed_by_a_pause(
    publisher: Publisher, disk: Disk, run: Path
) -> None:
    disk.error = errno.EIO
    add_steps(publisher, range(1))
    for now_s in (1.0, 2.0, 5.0, 10.0, 20.0, 50.0):
        publisher.flush_if_due(START_S + now_s, step=0)
    assert disk.n_tries == 3  # the third failure, at 5 s, pauses until 65 s
    disk.error = None
    publisher.flush_if_due(START_S + 64, step=0)
    assert steps_of(run) == []
    publisher.flush_if_due(START_S + 80, step=0)
    assert steps_of(run) == [0]


def test_a_flush_that_is_asked_for_does_not_wait_for_the_pause(
    publisher: Publisher, disk: Disk, run: Path
) -> None:
    disk.error = errno.EIO
    add_steps(publisher, range(1))
    for _ in range(3):
        publisher.flush(START_S, step=0, up_to=0)
    disk.error = None
    assert publisher.flush(START_S + 1, step=0, up_to=0)
    assert steps_of(run) == [0]


def test_each_cause_is_told_once(
    publisher: Publisher, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    add_steps(publisher, range(1))
    for error in (errno.EIO, errno.ENOSPC, errno.EIO, errno.ENOSPC):
        disk.error = error
        publisher.flush(START_S, step=0, up_to=0)
    assert len(caplog.records) == 2


def test_memory_stays_bounded_and_the_loss_is_counted(
    publisher: Publisher,
    progress: Progress,
    disk: Disk,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept_bytes = 512 * 1024
    monkeypatch.setattr("telemetry.capture.writer.publisher.KEPT_BYTES", kept_bytes)
    disk.error = errno.ENOSPC
    add_steps(publisher, range(10))
    n_rows = 2000
    for step in range(6):
        add_sample(publisher, step, n_tensors=n_rows)
        publisher.flush_if_due(START_S + 100 * step, step=step)
        assert publisher.buffer.n_bytes <= kept_bytes
    disk.error = None
    assert publisher.flush(START_S + 1000, step=10, up_to=10)
    assert publisher.flush(START_S + 1001, step=11, up_to=11)
    assert steps_of(run) == list(range(10))
    kept = steps_of(run, "tensor_stats")
    assert len(kept) + progress.dropped_rows == 6 * n_rows
    assert progress.dropped_rows > 0
    assert max(kept) == 5  # the oldest went first
    told = [row["payload"] for row in rows_of(run, "events") if row["kind"] == "dropped"]
    losses = [json.loads(str(payload)) for payload in told]
    assert sum(loss.get("tensor_stats", 0) for loss in losses) == progress.dropped_rows
    assert sum(loss.get("tensor_stats.hist", 0) for loss in losses) > 0


def test_a_run_that_was_removed_stays_removed_and_one_that_returns_goes_on(
    publisher: Publisher, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "unmounted"
    shutil.move(run, elsewhere)
    add_steps(publisher, range(1))
    assert not publisher.flush(START_S, step=0, up_to=0)
    assert not run.exists()
    assert "the run folder is gone" in caplog.text
    shutil.move(elsewhere, run)
    assert publisher.flush(START_S, step=0, up_to=0)
    assert steps_of(run) == [0]


def test_rows_that_do_not_fit_are_told_once_and_counted(
    publisher: Publisher, progress: Progress, run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in range(2):
        publisher.buffer.add_records("steps", [{"step": step}])  # flags is required
        publisher.flush(START_S, step=step, up_to=step)
    publisher.flush(START_S, step=2, up_to=2)
    assert progress.dropped_rows == 2
    assert len(caplog.records) == 1
    kinds = [row["kind"] for row in rows_of(run, "events")]
    assert sorted(kinds) == ["dropped", "dropped", "telemetry_error"]


def test_what_is_given_up_at_the_end_is_counted(
    publisher: Publisher, progress: Progress, disk: Disk
) -> None:
    disk.error = errno.EIO
    add_steps(publisher, range(3))
    publisher.flush(START_S, step=2, up_to=None)
    publisher.give_up_all(2)
    assert progress.dropped_rows == 3 + 1  # and the event that tells of the disk
    assert publisher.buffer.n_rows == 0


def test_rows_that_cannot_be_encoded_are_not_tried_again(
    publisher: Publisher, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise pa.ArrowInvalid("no such encoding")

    monkeypatch.setattr("telemetry.capture.writer.publisher.write_shard", fail)
    add_steps(publisher, range(3))
    assert publisher.flush(START_S, step=2, up_to=None)
    assert progress.dropped_rows >= 3
    assert "steps" not in publisher.buffer.tables()
