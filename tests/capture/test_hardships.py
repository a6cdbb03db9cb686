"""A training that meets a hardship ends as it would have without telemetry, and is readable."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from telemetry.format.manifest import Status
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

N_STEPS = 100
# One interpreter loads torch and forks for each hardship, before any thread exists.
SCRIPT = f"""
import errno, hashlib, json, logging, multiprocessing, os, resource, shutil, sys, threading
from pathlib import Path
import torch
from loops import Training, mlp, vectors
from telemetry import TelemetryCallback
from telemetry.format import runs, shards

store = Path(sys.argv[1])
lines = []

class Listener(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())

def digest(training):
    whole = hashlib.blake2b()
    for tensor in training.state():
        whole.update(tensor.numpy().tobytes())
    return whole.hexdigest()

def train(telemetry, training, n_steps):
    for loss in training.steps(n_steps):
        telemetry.step(loss=loss)

def callback(training, name):
    return TelemetryCallback(
        training.model,
        training.optimizer,
        store=store / name,
        name=name,
        every=10,
        overhead_budget=None,
    )

def no_close(training, name):
    train(callback(training, name), training, {N_STEPS})

def full_disk(training, name):
    telemetry = callback(training, name)
    train(telemetry, training, 10)
    telemetry._recording.writer.flush(timeout_s=60)
    def refuse(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")
    shards.write_synced = runs.write_synced = refuse
    train(telemetry, training, {N_STEPS} - 10)

def files_may_not_grow(training, name):
    telemetry = callback(training, name)
    telemetry._recording.writer.flush(timeout_s=60)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
    train(telemetry, training, {N_STEPS})

def no_room_at_all(training, name):
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))
    no_close(training, name)

def not_a_folder(training, name):
    (store / name).write_text("a file")
    no_close(training, name)

def removed(training, name):
    telemetry = callback(training, name)
    train(telemetry, training, 30)
    telemetry._recording.writer.flush(timeout_s=60)
    shutil.rmtree(store / name)
    train(telemetry, training, {N_STEPS} - 30)
    telemetry.close()

def dead_thread(training, name):
    telemetry = callback(training, name)
    writer = telemetry._recording.writer
    turn, writer._loop.turn = writer._loop.turn, lambda *args, **kwargs: sys.exit()
    writer._loop.queue.wake.set()
    writer._thread.join()
    writer._loop.turn = turn
    train(telemetry, training, {N_STEPS})

def forked_child_trains_on(training, name):
    telemetry = callback(training, name)
    train(telemetry, training, 50)
    pid = os.fork()
    train(telemetry, training, {N_STEPS} - 50)
    telemetry.log(val_loss=1.0)
    if pid == 0:
        telemetry.close()
        os._exit(0 if digest(training) == reference else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def forked_child_records(training, name):
    telemetry = callback(training, name)
    train(telemetry, training, 50)
    pid = os.fork()
    if pid == 0:
        own = callback(training, name + "_child")
        train(own, training, {N_STEPS} - 50)
        sys.exit(0 if digest(training) == reference else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    train(telemetry, training, {N_STEPS} - 50)

def child_of_multiprocessing(training, name):
    telemetry = callback(training, name)
    train(telemetry, training, 50)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=train, args=(telemetry, training, 50))
    child.start()
    child.join()
    assert child.exitcode == 0
    train(telemetry, training, {N_STEPS} - 50)

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        training = Training(mlp, vectors)  # a model of the worker's own, and one of the parent
        for model in (training.model, self.model):
            model(torch.zeros(1, 8)).sum().backward()
        training.optimizer.step()
        return torch.zeros(1)

def workers(training, name):
    telemetry = callback(training, name)
    train(telemetry, training, 50)
    numbers = Numbers()
    numbers.model = training.model
    state = torch.get_rng_state()
    loader = torch.utils.data.DataLoader(
        numbers, num_workers=2, multiprocessing_context="fork", persistent_workers=False
    )
    assert len(list(loader)) == 8
    torch.set_rng_state(state)  # the loader has drawn a seed
    train(telemetry, training, {N_STEPS} - 50)

def in_a_thread(training, name):
    telemetry = callback(training, name)
    thread = threading.Thread(target=train, args=(telemetry, training, {N_STEPS}))
    thread.start()
    thread.join()

HARDSHIPS = [
    no_close, full_disk, files_may_not_grow, no_room_at_all, not_a_folder, removed, dead_thread,
    forked_child_trains_on, forked_child_records, child_of_multiprocessing, workers, in_a_thread,
]
plain = Training(mlp, vectors)
for _ in plain.steps({N_STEPS}):
    pass
reference = digest(plain)
results = {{}}
for hardship in HARDSHIPS:
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        break
    os.close(sending)
    with os.fdopen(receiving) as stream:
        said = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    results[hardship.__name__] = {{"code": code, **json.loads(said or "{{}}")}}
else:
    print(json.dumps(results))
    sys.exit()
logging.getLogger("telemetry").addHandler(Listener())
training = Training(mlp, vectors)
hardship(training, hardship.__name__)
same = digest(training) == reference
import atexit
from telemetry.capture.environment import open_callbacks
open_callbacks.close_all()  # as at the end of the interpreter, but before the lines are told
os.write(sending, json.dumps({{"same": same, "lines": lines}}).encode())
"""
Result: TypeAlias = dict[str, object]


@pytest.fixture(scope="module")
def suffered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Result]]:
    store = tmp_path_factory.mktemp("suffered")
    environment = {key: value for key, value in os.environ.items() if key != "TELEMETRY_COMPACT"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, str(store)],
        env={
            **environment,
            "PYTHONPATH": str(Path(__file__).parents[1] / "support"),
            "OMP_NUM_THREADS": "1",  # the threads of a pool do not survive a fork
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Result] = json.loads(done.stdout)
    for name, result in results.items():
        assert result.get("same") is not None, f"{name}: {done.stderr}"
    return store, results


REFUSED = ("rows are kept in memory", "run.json was not written", "packets were lost")
EXPECTED_LINES = {
    "full_disk": REFUSED,
    "files_may_not_grow": (*REFUSED, "since the last write to a shard is lost"),
    "no_room_at_all": ("nothing is recorded",),
    "not_a_folder": ("nothing is recorded",),
    "removed": REFUSED,
}
WHOLE = (
    "no_close",
    "dead_thread",
    "forked_child_trains_on",
    "forked_child_records",
    "child_of_multiprocessing",
    "workers",
    "in_a_thread",
)


@pytest.mark.parametrize("name", [*EXPECTED_LINES, *WHOLE])
def test_training_goes_on_and_is_told_once_for_each_reason(
    suffered: tuple[Path, dict[str, Result]], name: str
) -> None:
    result = suffered[1][name]
    assert result["code"] == 0
    assert result["same"] is True
    lines = result["lines"]
    assert isinstance(lines, list)
    expected = EXPECTED_LINES.get(name, ())
    assert [sum(text in line for line in lines) for text in expected] == [1] * len(expected), lines
    assert len(lines) == len(expected)


@pytest.mark.parametrize("name", WHOLE)
def test_the_run_is_whole(suffered: tuple[Path, dict[str, Result]], name: str) -> None:
    run = run_of(suffered[0] / name)
    assert run.status is Status.FINISHED
    with Store.open(suffered[0] / name).session([run]) as session:
        rows = session.query("SELECT step, loss, backward_calls FROM steps ORDER BY step")
        layers = session.query("SELECT DISTINCT step FROM layers ORDER BY step")
        activations = session.query("SELECT DISTINCT step FROM activations ORDER BY step")
        assert session.warnings == ()
    assert rows.ints("step").tolist() == list(range(N_STEPS))
    assert set(rows.ints("backward_calls")) == {1}
    sampled = list(range(0, N_STEPS, 10))
    assert layers.ints("step").tolist() == sampled
    assert activations.ints("step").tolist() == sampled


def test_on_a_full_disk_the_last_steps_are_there(
    suffered: tuple[Path, dict[str, Result]],
) -> None:
    run = run_of(suffered[0] / "full_disk")
    assert (run.status, run.steps) == (Status.KILLED, N_STEPS)
    with Store.open(suffered[0] / "full_disk").session([run]) as session:
        rows = session.query("SELECT step, loss FROM steps ORDER BY step")
    assert rows.ints("step").tolist()[-64:] == list(range(N_STEPS - 64, N_STEPS))
    assert not np.isnan(rows.floats("loss")).any()


def run_of(store: Path) -> Run:
    (run,) = Store.open(store).runs()
    return run


def test_a_forked_child_may_record_a_run_of_its_own(
    suffered: tuple[Path, dict[str, Result]],
) -> None:
    run = run_of(suffered[0] / "forked_child_records_child")
    assert (run.status, run.steps) == (Status.FINISHED, 50)


def test_a_store_that_was_removed_is_not_made_again(
    suffered: tuple[Path, dict[str, Result]],
) -> None:
    assert not (suffered[0] / "removed").exists()
