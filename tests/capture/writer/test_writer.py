import os
import threading
from pathlib import Path

import pytest
from recorded import TensorPacket, metric_row, rows_of, run_settings, step_rows, steps_of

from telemetry.capture.writer import claims, writer
from telemetry.capture.writer.loop import WriterLoop
from telemetry.capture.writer.writer import RunWriter
from telemetry.errors import CaptureError, UsageError
from telemetry.format.manifest import Status, read_manifest
from telemetry.format.runs import ID_PATTERN

WAIT_S = 60.0


def train(recorder: RunWriter, steps: range) -> None:
    for step in steps:
        recorder.put(TensorPacket(step=step))
        recorder.put(step_rows(range(step, step + 1)))
        recorder.mark_step(step)


def test_a_run_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))
    run = recorder.ref.path
    assert read_manifest(run).status is Status.RUNNING
    train(recorder, range(5))
    recorder.put(metric_row(4, "val_loss", 0.5))
    recorder.event("attach", "begins", step=0, payload={"n": 1}, module_id=7, tensor_id=8)
    recorder.add_summary(overhead_share=0.004)
    recorder.close(Status.FINISHED)
    manifest = read_manifest(run)
    assert (manifest.status, manifest.closed) == (Status.FINISHED, True)
    assert steps_of(run) == list(range(5))
    assert len(rows_of(run, "tensor_stats")) == 20
    (event,) = rows_of(run, "events")
    assert (event["kind"], event["message"], event["payload"]) == ("attach", "begins", '{"n": 1}')
    assert (event["module_id"], event["tensor_id"]) == (7, 8)
    summary = manifest.summary
    assert (summary["steps"], summary["overhead_share"]) == (5, 0.004)
    assert set(manifest.files) == {"events", "metrics", "steps", "tensor_stats"}


def test_closing_ends_the_thread_and_may_be_repeated(tmp_path: Path) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))
    recorder.close(Status.FAILED, error={"type": "E", "message": "m"})
    recorder.close(Status.FINISHED)
    assert not recorder._thread.is_alive()
    assert read_manifest(recorder.ref.path).status is Status.FAILED


def test_after_the_end_nothing_is_recorded_and_nothing_raises(tmp_path: Path) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))
    train(recorder, range(2))
    recorder.close(Status.FINISHED)
    train(recorder, range(2, 4))
    recorder.event("attach", "late", step=3)
    assert not recorder.flush(timeout_s=WAIT_S)
    assert steps_of(recorder.ref.path) == [0, 1]
    assert rows_of(recorder.ref.path, "events") == []


def test_a_flush_returns_when_everything_is_on_the_disk(tmp_path: Path) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))
    train(recorder, range(3))
    assert recorder.flush(timeout_s=WAIT_S)
    assert steps_of(recorder.ref.path) == [0, 1, 2]
    assert read_manifest(recorder.ref.path).attempts[0].last_step == 2
    recorder.close(Status.FINISHED)


def test_an_id_is_given_by_the_caller_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_RUN_ID", "from-environment")
    for run_id, expected in ((None, "from-environment"), ("given", "given")):
        recorder = RunWriter.open(run_settings(tmp_path, run_id=run_id))
        assert recorder.ref.run == expected
        recorder.close(Status.FINISHED)
    monkeypatch.setenv("TELEMETRY_RUN_ID", "../escape")
    with pytest.raises(UsageError):
        RunWriter.open(run_settings(tmp_path), strict=True)
    for useless in ("../escape", ""):
        monkeypatch.setenv("TELEMETRY_RUN_ID", useless)
        recorder = RunWriter.open(run_settings(tmp_path))
        assert ID_PATTERN.fullmatch(recorder.ref.run)
        recorder.close(Status.FINISHED)


def test_two_writers_of_one_id_share_no_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = RunWriter.open(run_settings(tmp_path, run_id="r"))
    second = RunWriter.open(run_settings(tmp_path, run_id="r"))
    train(first, range(3))
    train(second, range(5))
    first.close(Status.FINISHED)
    second.close(Status.FINISHED)
    assert steps_of(first.ref.path) == [0, 1, 2]
    assert steps_of(second.ref.path) == [0, 1, 2, 3, 4]
    assert second.ref.run == "r.2"
    assert read_manifest(second.ref.path).conflict_of == "r"
    assert [row["kind"] for row in rows_of(second.ref.path, "events")] == ["conflict"]
    assert len(caplog.records) == 1


def test_strict_refuses_the_second_writer(tmp_path: Path) -> None:
    first = RunWriter.open(run_settings(tmp_path, run_id="r"))
    with pytest.raises(CaptureError, match="another process is writing it"):
        RunWriter.open(run_settings(tmp_path, run_id="r"), strict=True)
    first.close(Status.FINISHED)


def test_a_closed_run_goes_on_as_its_next_attempt(tmp_path: Path) -> None:
    for steps in (range(4), range(2, 6)):
        recorder = RunWriter.open(run_settings(tmp_path, run_id="r"))
        train(recorder, steps)
        recorder.close(Status.FINISHED)
    attempts = read_manifest(recorder.ref.path).attempts
    assert [(a.attempt, a.start_step, a.last_step) for a in attempts] == [(1, 0, 3), (2, 2, 5)]


@pytest.mark.parametrize("place", ["mkdir", "manifest"])
def test_a_folder_that_cannot_be_written_is_a_capture_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    if place == "mkdir":
        monkeypatch.setattr(Path, "mkdir", refuse)
    else:
        monkeypatch.setattr("telemetry.capture.writer.run_folder.publish_json", refuse)
    with pytest.raises(CaptureError, match="Permission denied"):
        RunWriter.open(run_settings(tmp_path))


def test_an_interpreter_that_starts_no_thread_is_a_capture_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(CaptureError, match="at interpreter shutdown"):
        RunWriter.open(run_settings(tmp_path))


def full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_never_reaches_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    train(recorder, range(3))
    assert not recorder.flush(timeout_s=WAIT_S)
    recorder.close(Status.FINISHED)
    assert "No space left on device" in caplog.text
    assert recorder.failure is not None
    assert list(recorder.ref.path.rglob("*.parquet")) == []


def test_strict_says_at_the_end_that_something_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = RunWriter.open(run_settings(tmp_path), strict=True)
    monkeypatch.setattr(os, "fsync", full)
    train(recorder, range(3))
    with pytest.raises(CaptureError, match="not everything was recorded"):
        recorder.close(Status.FINISHED)


def test_strict_says_nothing_when_everything_is_there(tmp_path: Path) -> None:
    recorder = RunWriter.open(run_settings(tmp_path), strict=True)
    train(recorder, range(3))
    recorder.close(Status.FINISHED)
    assert steps_of(recorder.ref.path) == [0, 1, 2]


class Stuck(TensorPacket):
    """A packet whose device does not answer until it is told to."""

    released = threading.Event()

    def rows(self) -> list[tuple[str, object]]:
        self.released.wait(WAIT_S)
        return []


def test_a_device_that_does_not_answer_holds_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))
    recorder.put(Stuck(step=0))
    assert not recorder.flush(timeout_s=0.01)
    recorder.close(Status.FINISHED, timeout_s=0.01)
    assert "still writing" in caplog.text
    Stuck.released.set()
    recorder.close(Status.FINISHED)
    assert read_manifest(recorder.ref.path).closed


def test_a_turn_that_fails_is_told_once_and_does_not_end_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))

    def fail(*_: object, **__: object) -> bool:
        raise RuntimeError("a defect")

    with monkeypatch.context() as broken:
        broken.setattr(recorder._loop, "turn", fail)  # of this writer alone
        for _ in range(3):
            assert not recorder.flush(timeout_s=WAIT_S)
    train(recorder, range(2))
    recorder.close(Status.FINISHED)
    assert steps_of(recorder.ref.path) == [0, 1]
    assert [r.getMessage() for r in caplog.records if "writing failed" in r.getMessage()]
    assert len(caplog.records) == 1
    assert str(recorder.failure) == "a defect"


def test_a_lost_thread_is_replaced_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WriterLoop, "run", lambda *_: None)
    recorder = RunWriter.open(run_settings(tmp_path))
    train(recorder, range(2))
    recorder._thread.join()
    assert not recorder.flush(timeout_s=WAIT_S)
    recorder.close(Status.FINISHED)
    assert steps_of(recorder.ref.path) == [0, 1]
    assert read_manifest(recorder.ref.path).closed


def test_a_working_directory_that_is_gone_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Path:
        raise FileNotFoundError

    monkeypatch.setattr("telemetry.capture.writer.loop.git_state", lambda _: {"git_commit": "abc"})
    monkeypatch.setattr(writer.Path, "cwd", gone)
    recorder = RunWriter.open(run_settings(tmp_path))
    recorder.close(Status.FINISHED)
    assert "git_commit" not in read_manifest(recorder.ref.path).environment


def test_a_run_removed_while_it_is_recorded_stays_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))
    train(recorder, range(2))
    assert recorder.flush(timeout_s=WAIT_S)
    recorder.ref.path.rename(tmp_path / "trash")
    train(recorder, range(2, 4))
    recorder.close(Status.FINISHED)
    assert not recorder.ref.path.exists()
    assert "the run folder is gone" in caplog.text
    assert steps_of(tmp_path / "trash") == [0, 1]


def test_many_threads_may_put(tmp_path: Path) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))

    def put_events(number: int) -> None:
        for step in range(200):
            recorder.event("attach", f"{number}", step=step)

    threads = [threading.Thread(target=put_events, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close(Status.FINISHED)
    assert len(rows_of(recorder.ref.path, "events")) == 800


def test_a_disowned_writer_is_harmless(tmp_path: Path) -> None:
    recorder = RunWriter.open(run_settings(tmp_path))
    assert recorder.is_owned
    writer._disown_all()  # what a forked child does first
    train(recorder, range(2))
    assert not recorder.flush(timeout_s=WAIT_S)
    recorder.close(Status.FINISHED)
    assert not recorder.is_owned
    assert read_manifest(recorder.ref.path).status is Status.RUNNING
    recorder._is_owned = True
    recorder.close(Status.FINISHED)
    assert steps_of(recorder.ref.path) == []


def test_claims_of_closed_runs_are_free(tmp_path: Path) -> None:
    recorder = RunWriter.open(run_settings(tmp_path, run_id="r"))
    recorder.close(Status.FINISHED)
    again = claims.claim_run(tmp_path, "demo", "r", rank=0, strict=True)
    assert again.attempt == 2
