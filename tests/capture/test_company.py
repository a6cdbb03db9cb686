"""Threads, interrupts, copies and files of a model that is being recorded."""

import copy
import io
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from loops import ConvNet, Training, images, records, vectors
from torch import nn

from telemetry import TelemetryCallback
from telemetry.capture.activations.recorder import SiteRecorder
from telemetry.capture.parameters.observer import SampledParameters
from telemetry.capture.run.recording import Recording
from telemetry.capture.steps.ledger import StepLedger
from telemetry.format.manifest import Status, read_manifest


def callback(training: Training, store: Path, **options: object) -> TelemetryCallback:
    return TelemetryCallback(
        training.model,
        training.optimizer,
        store=store,
        **{"every": 1, "overhead_budget": None, **options},  # type: ignore[arg-type]
    )


def same(a: Training, b: Training) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state()[:-1], b.state()[:-1], strict=True)
    )  # the random state belongs to the process


def test_trainings_of_two_threads_are_two_runs(tmp_path: Path) -> None:
    """Each step of one meets a step of the other, forward, backward and optimizer in turn."""
    meet = threading.Barrier(2, timeout=60)
    trainings = [Training(two_layers, vectors, seed=seed) for seed in (1, 2)]
    callbacks = [callback(training, tmp_path / str(i)) for i, training in enumerate(trainings)]
    failures: list[Exception] = []

    def train(place: int) -> None:
        training, telemetry = trainings[place], callbacks[place]
        with meet_or_end(meet, failures):
            for _ in range(6):
                inputs, labels = training.batch(training._generator)
                meet.wait()
                loss = nn.functional.cross_entropy(training.model(inputs), labels)
                meet.wait()  # both forwards are done
                training.optimizer.zero_grad()
                loss.backward()
                meet.wait()
                training.optimizer.step()
                telemetry.step(loss=loss)

    threads = [threading.Thread(target=train, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for telemetry in callbacks:
        telemetry.close()
    for place, telemetry in enumerate(callbacks):
        alone = Training(two_layers, vectors, seed=place + 1)
        losses = [float(loss.detach()) for loss in alone.steps(6)]
        assert same(trainings[place], alone)
        assert telemetry.path is not None
        rows = records(telemetry.path, "steps")
        assert [row["loss"] for row in rows] == losses
        assert [row["root_sum"] for row in rows] == losses
        assert {row["backward_calls"] for row in rows} == {1}
        assert {row["samples"] for row in rows} == {32}
        for table in ("tensor_stats", "module_stats"):
            assert {row["step"] for row in records(telemetry.path, table)} == set(range(6))
        events = {row["kind"] for row in records(telemetry.path, "events")}
        assert "telemetry_error" not in events


@contextmanager
def meet_or_end(meet: threading.Barrier, failures: list[Exception]) -> Iterator[None]:
    """The other thread does not wait for one that has failed."""
    try:
        yield
    except Exception as error:
        failures.append(error)
        meet.abort()
        raise


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))


def interrupt(*args: object, **kwargs: object) -> None:
    """Ctrl-C at this very place."""
    del args, kwargs
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (Recording, "step_begins"),
        (Recording, "stepped"),
        (Recording, "_end_record"),
        (StepLedger, "end"),
        (StepLedger, "call"),
        (SampledParameters, "begin"),
        (SiteRecorder, "output"),
        (SiteRecorder, "gradient"),
        (SiteRecorder, "operation"),
    ],
)
def test_an_interrupt_inside_a_hook_reaches_the_loop_and_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    training = Training(ConvNet, images)
    telemetry = callback(training, tmp_path)
    steps = training.steps(9)
    for _ in range(3):
        telemetry.step(loss=next(steps))
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, interrupt)
        with pytest.raises(KeyboardInterrupt):
            for loss in steps:
                telemetry.step(loss=loss)
    saved = io.BytesIO()
    torch.save(training.model, saved)  # what a loop does that catches it
    after = training.steps(3)  # and some go on
    for loss in after:
        telemetry.step(loss=loss)
    telemetry.close()
    n_dispatch_modes = len(torch.utils._python_dispatch._get_current_dispatch_mode_stack())
    assert n_dispatch_modes == 0
    assert n_hooks(training.model) == 0
    assert telemetry.path is not None
    assert read_manifest(telemetry.path).status is Status.FINISHED
    rows = [row["step"] for row in records(telemetry.path, "steps")]
    assert rows == list(range(len(rows)))
    assert len(rows) in {6, 7}
    kinds = [row["kind"] for row in records(telemetry.path, "events")]
    assert "telemetry_error" not in kinds


def n_hooks(model: nn.Module) -> int:
    return sum(
        len(hooks)
        for module in model.modules()
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )


Twin = Callable[[nn.Module], nn.Module]


def pickled(model: nn.Module) -> nn.Module:
    twin: nn.Module = pickle.loads(pickle.dumps(model))  # noqa: S301 - made in the line itself
    return twin


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    twin: nn.Module = torch.load(file, weights_only=False)  # made in the line above
    return twin


def state_loaded(model: nn.Module) -> nn.Module:
    twin = two_layers()
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.mark.parametrize("every", [1, 1000])
@pytest.mark.parametrize("twin_of", [copy.deepcopy, pickled, saved, state_loaded])
def test_a_copy_of_the_model_trains_like_it_and_is_not_recorded(
    tmp_path: Path, twin_of: Twin, every: int
) -> None:
    plain = Training(two_layers, vectors)
    for _ in plain.steps(3):
        pass
    training = Training(two_layers, vectors)
    telemetry = callback(training, tmp_path, every=every)
    for number, loss in enumerate(training.steps(3)):
        telemetry.step(loss=loss)
        if number == 1:
            twin = twin_of(training.model)  # between two steps: the hooks of the next are there
            keys = list(training.model.state_dict())
            optimizer = copy.deepcopy(training.optimizer)
    assert keys == list(plain.model.state_dict())
    assert all(key in optimizer.state_dict() for key in ("state", "param_groups"))
    before = telemetry.state_dict()
    twin(torch.ones(4, 8))
    optimizer.step()
    assert telemetry.state_dict()["samples"] == before["samples"]
    assert telemetry.state_dict()["step"] == 3
    telemetry.close()
    for _ in Training(lambda: twin, vectors).steps(2):
        pass
    assert same(training, plain)
    assert telemetry.path is not None
    assert [row["step"] for row in records(telemetry.path, "steps")] == [0, 1, 2]
    assert {row["backward_calls"] for row in records(telemetry.path, "steps")} == {1}


def test_a_saved_model_is_loaded_where_nothing_of_telemetry_is(tmp_path: Path) -> None:
    training = Training(two_layers, vectors)
    telemetry = callback(training, tmp_path)
    file = tmp_path / "model.pt"
    for loss in training.steps(2):
        telemetry.step(loss=loss)
    torch.save(training.model, file)
    inputs = torch.ones(1, 8)
    expected = training.model(inputs).tolist()
    telemetry.close()
    code = (
        "import sys, torch; sys.modules['telemetry'] = None;"
        "model = torch.load(sys.argv[1], weights_only=False);"
        "print(model(torch.ones(1, 8)).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(expected)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled, saved])
def test_a_copy_of_the_callback_records_nothing_and_keeps_the_state(
    tmp_path: Path, copied: Callable[[object], object]
) -> None:
    training = Training(two_layers, vectors)
    with callback(training, tmp_path) as telemetry:
        steps = training.steps(4)
        telemetry.step(loss=next(steps))
        twin = copied(telemetry)
        assert isinstance(twin, TelemetryCallback)
        state = twin.state_dict()
        assert state["run"] == telemetry.run
        assert state["step"] == 1
        assert twin.run is None
        for loss in steps:
            telemetry.step(loss=loss)
            twin.step(loss=loss)
        twin.log(val_loss=1.0)
        twin.close()
    assert telemetry.path is not None
    assert len(list(telemetry.path.parent.iterdir())) == 1
    assert [row["step"] for row in records(telemetry.path, "steps")] == [0, 1, 2, 3]
    assert records(telemetry.path, "metrics") == []
