"""Processes that die or fork while they record; each test runs a child of its own."""

import os
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import pytest
from recorded import rows_of, run_settings, steps_of

from telemetry.capture.writer.writer import RunWriter
from telemetry.format.manifest import Status, inferred_status, read_manifest
from telemetry.format.runs import parse_shard_name

PRELUDE = """
import os, signal, sys
from pathlib import Path
from recorded import TensorPacket, run_settings, step_rows
from telemetry.capture.writer.writer import RunWriter
from telemetry.format.manifest import Status

def train(recorder, steps):
    for step in steps:
        recorder.put(TensorPacket(step=step))
        recorder.put(step_rows(range(step, step + 1)))
        recorder.mark_step(step)

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

recorder = RunWriter.open(run_settings(Path(sys.argv[1]), run_id="r"))
train(recorder, range(5))
assert recorder.flush(timeout_s=60)
train(recorder, range(5, 9))
"""

# Each makes the next flush die at one point of the way to the disk.
DEATHS = {
    "between flushes": "die()",
    "before the file": "import telemetry.format.shards as s; s.write_synced = die",
    "in the middle of the file": """
import telemetry.format.shards as s
def half(path, content):
    Path(path).write_bytes(bytes(content)[: len(content) // 2])
    die()
s.write_synced = half
""",
    "at the sync": "os.fsync = die",
    "before the rename": "import telemetry.format.shards as s; s._rename = die",
    "after the rename": "import telemetry.format.shards as s; s.sync_folder = die",
    "at the manifest": """
import telemetry.capture.writer.run_folder as f
f.publish_json = die
""",
    "in the middle of the manifest": """
import telemetry.format.runs as r
def half(path, content):
    Path(path).write_bytes(content[:50])
    die()
r.write_synced = half
""",
}


def child(script: str, store: Path, *, prelude: str = PRELUDE) -> subprocess.CompletedProcess[str]:
    tests = Path(__file__).parents[1] / "support"
    return subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(script), str(store)],
        env={**os.environ, "PYTHONPATH": str(tests), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def run_of(store: Path) -> Path:
    return store / "project=demo" / "run=r"


@pytest.mark.parametrize("moment", DEATHS)
def test_a_killed_run_is_whole_up_to_its_last_flush(tmp_path: Path, moment: str) -> None:
    done = child(f"{DEATHS[moment]}\nrecorder.flush(timeout_s=60)", tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = run_of(tmp_path)
    manifest = read_manifest(run)
    assert manifest.status is Status.RUNNING
    assert inferred_status(manifest, now=datetime.now(UTC)) is Status.KILLED
    assert [a.start_step for a in manifest.attempts] == [0]
    steps = steps_of(run)
    assert steps[:5] == [0, 1, 2, 3, 4]  # acknowledged by the first flush
    assert steps == list(range(len(steps)))  # and later ones whole and once, or not at all
    for path in run.rglob("*.parquet"):
        assert parse_shard_name(path.name)


def test_a_run_killed_before_its_first_step_is_killed(tmp_path: Path) -> None:
    child("", tmp_path, prelude=PRELUDE.replace("train(recorder, range(5))", "die()"))
    manifest = read_manifest(run_of(tmp_path))
    assert manifest.attempts == ()
    assert inferred_status(manifest, now=datetime.now(UTC)) is Status.KILLED


def test_a_killed_run_goes_on_as_its_next_attempt(tmp_path: Path) -> None:
    child("die()", tmp_path)
    recorder = RunWriter.open(run_settings(tmp_path, run_id="r"), strict=True)
    recorder.mark_step(5)
    recorder.close(Status.FINISHED)
    attempts = read_manifest(recorder.ref.path).attempts
    assert [(a.attempt, a.start_step) for a in attempts] == [(1, 0), (2, 5)]
    assert attempts[0].ended is None


def test_a_living_process_keeps_its_run(tmp_path: Path) -> None:
    script = """
    code = (
        "from pathlib import Path; import sys; from recorded import run_settings;"
        "from telemetry.capture.writer.writer import RunWriter;"
        "from telemetry.format.manifest import Status;"
        "other = RunWriter.open(run_settings(Path(sys.argv[1]), run_id='r'));"
        "other.close(Status.FINISHED); print(other.ref.run)"
    )
    import subprocess
    subprocess.run([sys.executable, "-c", code, sys.argv[1]], check=True)
    recorder.close(Status.FINISHED)
    """
    done = child(script, tmp_path)
    assert done.stdout.split() == ["r.2"], done.stderr
    assert steps_of(run_of(tmp_path)) == list(range(9))
    assert read_manifest(run_of(tmp_path).with_name("run=r.2")).conflict_of == "r"


def test_a_forked_child_never_writes_and_never_waits(tmp_path: Path) -> None:
    script = """
    pid = os.fork()
    if pid == 0:
        assert not recorder.is_owned
        train(recorder, range(100, 200))
        recorder.event("attach", "from the child", step=100)
        assert not recorder.flush(timeout_s=60)
        recorder.close(Status.FAILED)
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    recorder.close(Status.FINISHED)
    """
    done = child(script, tmp_path)
    assert done.returncode == 0, done.stderr
    run = run_of(tmp_path)
    assert steps_of(run) == list(range(9))
    assert rows_of(run, "events") == []
    assert read_manifest(run).status is Status.FINISHED


def test_a_forked_child_may_record_a_run_of_its_own(tmp_path: Path) -> None:
    script = """
    pid = os.fork()
    if pid == 0:
        own = RunWriter.open(run_settings(Path(sys.argv[1]), run_id="child"))
        train(own, range(3))
        own.close(Status.FINISHED)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    recorder.close(Status.FINISHED)
    """
    done = child(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert steps_of(run_of(tmp_path).with_name("run=child")) == [0, 1, 2]
    assert steps_of(run_of(tmp_path)) == list(range(9))


@pytest.mark.torch
@pytest.mark.slow
def test_workers_of_a_data_loader_leave_the_run_alone(tmp_path: Path) -> None:
    script = """
    import torch
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 8
        def __getitem__(self, index):
            recorder.event("attach", "from a worker", step=0)
            recorder.mark_step(1000)
            return torch.zeros(1)
    loader = torch.utils.data.DataLoader(Data(), num_workers=1, multiprocessing_context="fork")
    assert len(list(loader)) == 8
    recorder.close(Status.FINISHED)
    """
    done = child(script, tmp_path)
    assert done.returncode == 0, done.stderr
    run = run_of(tmp_path)
    assert rows_of(run, "events") == []
    assert read_manifest(run).attempts[0].last_step == 8


def test_closing_at_the_exit_of_the_interpreter_loses_nothing(tmp_path: Path) -> None:
    script = """
    import atexit
    atexit.register(recorder.close, Status.FINISHED)
    """
    done = child(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert steps_of(run_of(tmp_path)) == list(range(9))
    assert read_manifest(run_of(tmp_path)).closed


def test_an_interpreter_that_ends_without_closing_is_not_held_up(tmp_path: Path) -> None:
    done = child("", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    manifest = read_manifest(run_of(tmp_path))
    assert inferred_status(manifest, now=datetime.now(UTC)) is Status.KILLED
    assert steps_of(run_of(tmp_path))[:5] == list(range(5))


def test_a_full_device_is_survived(tmp_path: Path) -> None:
    script = """
    real = os.open
    def to_full_device(path, flags, mode=0o777):
        full = str(path).endswith(".part")
        return real("/dev/full" if full else path, flags & ~os.O_EXCL if full else flags, mode)
    os.open = to_full_device
    train(recorder, range(9, 12))
    assert not recorder.flush(timeout_s=60)
    os.open = real
    train(recorder, range(12, 14))
    recorder.close(Status.FINISHED)
    """
    done = child(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("No space left on device") == 2  # shards, manifest: once each
    run = run_of(tmp_path)
    assert steps_of(run) == list(range(14))
    assert read_manifest(run).summary["dropped_rows"] == 0
    assert [row["kind"] for row in rows_of(run, "events")] == ["flush"]
