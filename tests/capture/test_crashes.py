"""What is left of a run whose process died: the last 64 steps, whatever killed it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loops import Training, mlp, recorded, records, vectors

from telemetry import TelemetryCallback
from telemetry.format.manifest import Status, read_manifest
from telemetry.store.store import Store

# The store, and of each death the exit code and the losses of its steps.
Dead = tuple[Path, dict[str, tuple[int, list[float]]]]

N_STEPS = 100
# One interpreter loads torch and forks for each death, before any thread exists. Each child says
# through a pipe what every loss was: what it says, it has recorded.
SCRIPT = f"""
import ctypes, json, os, signal, sys
from pathlib import Path
from loops import Training, mlp, vectors
from telemetry import TelemetryCallback

DEATHS = {{
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "os._exit": lambda: os._exit(3),
    "exception": lambda: 1 / 0,
    "KeyboardInterrupt": lambda: os.kill(os.getpid(), signal.SIGINT),
    "sys.exit": lambda: sys.exit(4),
    "sys.exit(0)": lambda: sys.exit(0),
    "exit of site": lambda: exit(5),
}}
codes = {{}}
for name in DEATHS:
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        break
    os.close(sending)
    with os.fdopen(receiving) as stream:
        losses = [float(line) for line in stream]
    codes[name] = (os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), losses)
else:
    print(json.dumps(codes))
    sys.exit()
training = Training(mlp, vectors)
telemetry = TelemetryCallback(training.model, training.optimizer, store=sys.argv[1], name=name)
for loss in training.steps(10_000):
    telemetry.step(loss=loss)
    os.write(sending, f"{{loss.item()!r}}\\n".encode())
    if telemetry._recording._ledger.current.step == {N_STEPS}:
        telemetry._recording.writer.flight.write_kept()  # else those of the last 50 ms are lost
        DEATHS[name]()
"""
DEATHS = {
    "SIGKILL": (-signal.SIGKILL, Status.KILLED),
    "SIGSEGV": (-signal.SIGSEGV, Status.KILLED),
    "SIGTERM": (-signal.SIGTERM, Status.KILLED),
    "os._exit": (3, Status.KILLED),
    "exception": (1, Status.FAILED),
    "KeyboardInterrupt": (-signal.SIGINT, Status.FAILED),
    "sys.exit": (4, Status.FAILED),
    "sys.exit(0)": (0, Status.FINISHED),
    "exit of site": (5, Status.FAILED),
}


@pytest.fixture(scope="module")
def dead(
    tmp_path_factory: pytest.TempPathFactory,
) -> Dead:
    store = tmp_path_factory.mktemp("dead")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(store)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1] / "support"),
            "TELEMETRY_COMPACT": "off",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return store, json.loads(done.stdout)


@pytest.mark.parametrize("death", DEATHS)
def test_the_last_steps_are_there_whatever_ended_the_process(dead: Dead, death: str) -> None:
    store, codes = dead
    code, losses = codes[death]
    assert code == DEATHS[death][0]
    assert len(losses) == N_STEPS
    (run,) = [run for run in Store.open(store).runs() if run.name == death]
    assert run.status is DEATHS[death][1]
    assert run.steps == N_STEPS
    with Store.open(store).session([run]) as session:
        rows = session.query(
            "SELECT step, loss, lr, flags, backward_calls FROM steps ORDER BY step"
        )
        assert session.warnings == ()
    steps = rows.ints("step").tolist()
    assert steps[-64:] == list(range(N_STEPS - 64, N_STEPS))
    assert len(set(steps)) == len(steps)
    assert rows.floats("loss").tolist() == pytest.approx([losses[step] for step in steps])
    assert set(rows.floats("lr")) == {1e-2}
    assert set(rows.ints("backward_calls")) == {1}
    if run.status is not Status.KILLED:
        assert steps == list(range(N_STEPS))
        assert list(run.ref.path.glob(".flight-*")) == []


def test_what_was_in_the_ring_is_found_by_a_query_and_by_the_diagnosis(
    dead: Dead,
) -> None:
    from telemetry.diagnose.diagnose import diagnose_run
    from telemetry.store.user_sql.query import query_runs

    store = Store.open(dead[0])
    (run,) = [run for run in store.runs() if run.name == "SIGKILL"]
    before = {path: path.stat().st_mtime_ns for path in run.ref.path.rglob("*")}
    result = query_runs(store, "SELECT MAX(step) AS last FROM steps", runs=[run])
    assert result.arrow.to_pylist() == [{"last": N_STEPS - 1}]
    diagnose_run(store, run)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_next_attempt_without_a_recorder_does_not_hide_them(dead: Dead, tmp_path: Path) -> None:
    store = Path(shutil.copytree(dead[0], tmp_path / "store"))
    (run,) = [run for run in Store.open(store).runs() if run.name == "os._exit"]
    training = Training(mlp, vectors)
    with TelemetryCallback(
        training.model, training.optimizer, store=store, resume=run.run, flight_recorder=0
    ) as telemetry:
        (run,) = [one for one in Store.open(store).runs() if one.run == run.run]
        assert run.status is Status.RUNNING
        with Store.open(store).session([run]) as session:
            last = session.query("SELECT MAX(step) AS last FROM steps").ints("last").tolist()
        assert last == [N_STEPS - 1]
        assert telemetry.state_dict()["step"] == N_STEPS


def test_an_exception_writes_everything_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        recorded(DyingTraining(mlp, vectors), tmp_path, 5)
    (run,) = Store.open(tmp_path).runs()
    (event,) = [row for row in records(run.ref.path, "events") if row["kind"] == "flush"]
    assert json.loads(str(event["payload"])) == {"reason": "exception", "type": "ZeroDivisionError"}
    assert event["step"] == 3
    assert len(records(run.ref.path, "steps")) == 3
    assert {row["step"] for row in records(run.ref.path, "tensor_stats")} == {0, 1, 2}


class DyingTraining(Training):
    """Divides by zero instead of doing its fourth step."""

    def steps(self, n_steps: int) -> Iterator[object]:  # type: ignore[override]
        yield from super().steps(3)
        _ = n_steps / 0


@pytest.mark.parametrize(("code", "status"), [(None, "finished"), (0, "finished"), (2, "failed")])
def test_leaving_by_an_exit_without_an_error_is_no_failure(
    tmp_path: Path, code: int | None, status: str
) -> None:
    from telemetry import TelemetryCallback

    training = Training(mlp, vectors)
    with (
        pytest.raises(SystemExit),
        TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry,
    ):
        sys.exit(code)
    assert telemetry.path is not None
    assert read_manifest(telemetry.path).status == status
