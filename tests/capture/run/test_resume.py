"""A training that was ended and goes on: every step counts once, whatever ended it."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from loops import Training, mlp, vectors
from resumable import Job, messages, query, run_of, steps_by_attempt

from telemetry import TelemetryCallback
from telemetry.errors import UsageError
from telemetry.format.manifest import Status
from telemetry.format.runs import RUN_ID_VARIABLE

STEPS = """
SELECT step, attempt, loss, lr, samples, batch_hash, backward_calls, flags FROM steps ORDER BY step
"""
METRICS = "SELECT step, phase, name, value FROM metrics ORDER BY step, name"
TENSORS = """
SELECT step, tensor_id, kind, n, n_sampled, sum, sumsq, min, max, hist_exp, hist
FROM tensor_rows ORDER BY step, tensor_id
"""
MODULES = """
SELECT step, module_id, site, phase, n, sum, sumsq, absmax FROM module_rows
ORDER BY step, module_id, site, phase
"""
KILLED = """
import os, signal, sys
from pathlib import Path
from resumable import Job
store = Path(sys.argv[1])
job = Job(store).train(40)
job.save(store / "checkpoint.pt")
job.telemetry._recording._send(final=True)
assert job.telemetry._recording.writer.flush(timeout_s=60)
job.train(30)  # these are in the flight recorder
job.telemetry._recording.writer.flight.write_kept()  # what the writer thread does within a second
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN_ID_VARIABLE, raising=False)
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run that was killed after 70 steps; its checkpoint is of step 40."""
    store = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(store)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2] / "support"),
            "TELEMETRY_COMPACT": "off",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return store


def test_a_killed_training_goes_on_as_if_nothing_had_happened(tmp_path: Path, killed: Path) -> None:
    shutil.copytree(killed, tmp_path / "a")
    checkpoint = tmp_path / "a" / "checkpoint.pt"
    assert run_of(tmp_path / "a").status is Status.KILLED
    assert run_of(tmp_path / "a").steps == 70
    job = Job(tmp_path / "a", checkpoint=checkpoint, resume="auto").train(60)
    running = run_of(tmp_path / "a")
    job.telemetry.close()
    state = job.training.state()
    whole = Job(tmp_path / "b").train(100)
    whole.telemetry.close()

    assert all(torch.equal(a, b) for a, b in zip(state, whole.training.state(), strict=True))
    run = run_of(tmp_path / "a")
    assert (running.status, running.run) == (Status.RUNNING, run.run)
    assert (run.status, run.steps) == (Status.FINISHED, 100)
    for sql in (STEPS, METRICS, TENSORS, MODULES):
        resumed, uninterrupted = (query(tmp_path / name, sql).arrow for name in "ab")
        if sql == STEPS:
            assert resumed["attempt"].to_pylist() == [1] * 40 + [2] * 60
            resumed, uninterrupted = (t.drop_columns("attempt") for t in (resumed, uninterrupted))
        assert resumed.num_rows > 0
        assert resumed.equals(uninterrupted)
    assert job.telemetry.state_dict()["samples"] == 100 * 32
    elapsed = query(tmp_path / "a", "SELECT elapsed_s FROM steps ORDER BY step").floats("elapsed_s")
    assert (np.diff(elapsed) > 0).all()
    uninterrupted_run = run_of(tmp_path / "b")
    assert uninterrupted_run.measured is None  # its manifest has it; that of the other was read
    assert run.metrics["loss"] == pytest.approx(uninterrupted_run.metrics["loss"], rel=1e-12)


def test_without_a_state_it_goes_on_after_the_last_step_of_the_flight_recorder(
    tmp_path: Path, killed: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(killed, store)
    job = Job(store, resume="auto").train(3)
    job.telemetry.close()
    known = [(step, 1) for step in range(70)]
    assert steps_by_attempt(store) == [*known, (70, 2), (71, 2), (72, 2)]
    assert job.telemetry.path is not None
    assert messages(job.telemetry.path) == [
        "attempt 2 continues at step 70: steps recorded before from step 70 on are replaced"
    ]


@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_a_restart_with_nothing_to_do_changes_no_number(
    tmp_path: Path, killed: Path, *, from_checkpoint: bool
) -> None:
    store = tmp_path / "store"
    shutil.copytree(killed, store)
    before, shown = run_of(store), query(store, STEPS).arrow
    checkpoint = store / "checkpoint.pt" if from_checkpoint else None
    job = Job(store, checkpoint=checkpoint, resume="auto")
    job.telemetry.log(test_error_rate=0.25)
    job.telemetry.close()
    run = run_of(store)
    assert (run.run, run.status, run.steps) == (before.run, Status.FINISHED, 70)
    expected = {"last": 0.25, "best": 0.25, "best_step": 40 if from_checkpoint else 70}
    assert run.metrics == {**before.metrics, "test_error_rate": expected}
    assert query(store, STEPS).arrow.equals(shown)
    told = "SELECT attempt FROM metrics WHERE name = 'test_error_rate'"
    assert query(store, told).ints("attempt").tolist() == [2]
    assert run.manifest is not None
    assert [one.start_step for one in run.manifest.attempts] == [0, 70]


@pytest.mark.parametrize(
    "lives",
    [
        [(0, 6), (6, 9)],
        [(0, 6), (3, 8)],
        [(0, 6), (3, 4), (4, 9)],
        [(0, 6), (4, 9), (2, 5), (5, 7)],
        [(0, 6), (0, 2)],
        [(0, 3), (1, 9), (5, 6), (3, 4)],
    ],
)
def test_the_latest_attempt_that_had_begun_by_a_step_has_it(
    tmp_path: Path, lives: list[tuple[int, int]]
) -> None:
    winners: dict[int, int] = {}
    for attempt, (begin, end) in enumerate(lives, start=1):
        winners = {step: one for step, one in winners.items() if step < begin}
        job = Job(tmp_path, every=1, resume="auto")
        if attempt > 1:
            job.telemetry.load_state_dict({**job.telemetry.state_dict(), "step": begin})
        job.train(end - begin).fail()
        winners |= dict.fromkeys(range(begin, end), attempt)
        missing = {step for step in range(begin) if step not in winners}
        assert not missing  # a checkpoint can only be of a step that was done
    expected = sorted(winners.items())
    assert steps_by_attempt(tmp_path) == expected
    for table in ("metrics", "tensor_rows", "module_rows"):
        found = query(tmp_path, f"SELECT DISTINCT step, attempt FROM {table} ORDER BY step")  # noqa: S608
        pairs = zip(found.ints("step").tolist(), found.ints("attempt").tolist(), strict=True)
        assert list(pairs) == expected
    assert run_of(tmp_path).steps == len(expected)
    job = Job(tmp_path, every=1, resume="auto")
    assert job.telemetry.state_dict()["step"] == len(expected)
    assert job.telemetry.state_dict()["samples"] == 32 * len(expected)
    job.telemetry.close()


def test_the_state_is_plain_and_says_how_far_it_came(tmp_path: Path) -> None:
    job = Job(tmp_path, every=20).train(3)
    state = job.telemetry.state_dict()
    assert json.loads(json.dumps(state)) == state
    assert (state["run"], state["step"], state["samples"]) == (job.telemetry.run, 3, 96)
    assert state["cadence"] == 20
    job.telemetry.close()
    assert job.telemetry.state_dict()["step"] == 3
    again = Job(tmp_path, resume=str(job.telemetry.run))
    again.telemetry.load_state_dict(state)
    known = again.telemetry.state_dict()
    assert {**known, "elapsed_s": 0, "cost_s": 0} == {**state, "elapsed_s": 0, "cost_s": 0}
    assert float(str(known["elapsed_s"])) >= float(str(state["elapsed_s"]))
    assert float(str(known["cost_s"])) >= float(str(state["cost_s"]))
    again.telemetry.close()


def test_epochs_count_on(tmp_path: Path) -> None:
    """One that was interrupted goes on as the same, one that was over is followed by the next."""
    run: str | None = None
    state: dict[str, object] = {}
    for n_steps in (4, 6, 4, 2):
        training = Training(mlp, vectors)
        telemetry = TelemetryCallback(
            training.model, training.optimizer, store=tmp_path, resume=run
        )
        telemetry.load_state_dict(state)
        run, left = telemetry.run, n_steps
        while left:
            for inputs, labels in torch.utils.data.DataLoader(FourBatches()):
                training.optimizer.zero_grad()
                torch.nn.functional.cross_entropy(training.model(inputs[0]), labels[0]).backward()
                training.optimizer.step()
                telemetry.step()
                left -= 1
                if not left and n_steps != 4:
                    break
        # The third leaves its state to the disk, which knows no more than the last step.
        state = {} if n_steps == 4 and state.get("step") == 10 else telemetry.state_dict()
        telemetry.close()
    epochs = query(tmp_path, "SELECT epoch FROM steps ORDER BY step").ints("epoch").tolist()
    assert epochs == [0] * 4 + [1] * 4 + [2] * 2 + [2] * 4 + [2] * 2


class FourBatches(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Four whole batches of noise."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((8, 8), float(index)), torch.zeros(8, dtype=torch.int64)


def test_a_step_whose_optimizer_has_stepped_is_done(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    seen = []
    for loss in training.steps(3):
        seen.append(telemetry.state_dict()["step"])  # the weights are those after this step
        telemetry.step(loss=loss)
        seen.append(telemetry.state_dict()["step"])
    telemetry.close()
    assert seen == [1, 1, 2, 2, 3, 3]


def test_going_back_within_a_process_is_another_attempt(tmp_path: Path) -> None:
    job = Job(tmp_path, every=1).train(3)
    state = job.telemetry.state_dict()
    run = job.telemetry.run
    job.train(3)
    job.telemetry.load_state_dict(state)
    assert job.telemetry.run == run
    job.train(2)
    job.telemetry.close()
    assert steps_by_attempt(tmp_path) == [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2)]
    rows = query(tmp_path, "SELECT DISTINCT step, attempt FROM tensor_rows ORDER BY step")
    assert rows.ints("attempt").tolist() == [1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weights": 1}, "not returned by TelemetryCallback.state_dict"),
        ({"version": 99, "run": "r"}, "version 99, but this telemetry reads version 1"),
        ({"version": 1, "run": "r", "step": -1}, "step -1"),
        ({"version": 1, "run": "r", "step": "x"}, "step 'x'"),
        ({"version": 1, "run": "r", "step": 1, "samples": float("nan")}, "samples nan"),
    ],
)
def test_a_state_that_cannot_be_used_is_ignored(
    tmp_path: Path,
    state: dict[str, object],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = Job(tmp_path, strict=False)
    job.telemetry.load_state_dict(state)
    assert message in caplog.text
    job.train(1)
    job.telemetry.close()
    assert steps_by_attempt(tmp_path) == [(0, 1)]
    strict = Job(tmp_path)
    with pytest.raises(UsageError, match="state"):
        strict.telemetry.load_state_dict(state)
    strict.telemetry.load_state_dict({})
    with pytest.raises(TypeError, match="state is a list"):
        strict.telemetry.load_state_dict([1])  # type: ignore[arg-type]
    strict.telemetry.close()


def test_a_callback_that_records_nothing_hands_the_state_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_DISABLED", "1")
    job = Job(tmp_path / "none", resume="auto")
    assert job.telemetry.state_dict() == {}
    job.telemetry.load_state_dict({"version": 1, "run": "r"})
    assert job.telemetry.state_dict() == {"version": 1, "run": "r"}
    assert not (tmp_path / "none").exists()


def test_ranks_go_on_together_at_the_step_of_rank_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUN_ID_VARIABLE, "shared")
    monkeypatch.setenv("WORLD_SIZE", "2")

    def jobs(n_steps: tuple[int, int]) -> list[Job]:
        made = []
        for rank, count in enumerate(n_steps):
            monkeypatch.setenv("RANK", str(rank))
            made.append(Job(tmp_path, resume="auto").train(count))
        return made

    for job in jobs((4, 6)):
        job.fail()
    for job in jobs((3, 3)):
        job.telemetry.close()
    rows = query(tmp_path, "SELECT rank, step, attempt FROM steps ORDER BY rank, step")
    expected = [(step, 1) for step in range(4)] + [(step, 2) for step in range(4, 7)]
    for rank in (0, 1):
        of_rank = rows.ints("rank") == rank
        found = zip(rows.ints("step")[of_rank], rows.ints("attempt")[of_rank], strict=True)
        assert list(found) == expected


def test_a_callback_made_again_in_a_notebook_may_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = Training(mlp, vectors)
    run = None
    for _ in range(3):  # the cell is run three times
        telemetry = TelemetryCallback(
            training.model, training.optimizer, store=tmp_path, resume=run
        )
        run = telemetry.run
        for loss in training.steps(2):
            telemetry.step(loss=loss)
    telemetry.close()
    assert steps_by_attempt(tmp_path) == [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3)]
    assert [one.levelno for one in caplog.records] == [logging.WARNING] * 2
    assert "another TelemetryCallback recorded this model" in caplog.text
