import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from loops import ConvNet, Training, images, mlp, recorded, records, vectors
from torch import nn

from telemetry import TelemetryCallback
from telemetry.capture.environment import open_callbacks
from telemetry.errors import RunNotFound, UsageError
from telemetry.format.manifest import Status, read_manifest
from telemetry.store.runs.catalog import list_runs


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def test_the_manifest_says_what_was_trained(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    path = recorded(
        training,
        tmp_path,
        2,
        project="../odd name",
        name="first",
        config={"optimizer": {"lr": 0.1}},
        tags=["a", "b"],
        total_steps=100,
    )
    manifest = read_manifest(path)
    assert manifest.project == "../odd name"
    assert path.parent.parent == tmp_path
    assert manifest.name == "first"
    assert manifest.config == {"optimizer.lr": 0.1}
    assert manifest.tags == ("a", "b")
    assert manifest.total_steps == 100
    assert manifest.status is Status.FINISHED
    assert manifest.summary["steps"] == 2
    kinds = [row["kind"] for row in records(path, "events")]
    assert kinds[:2] == ["attach", "optimizer"]


def test_an_exception_in_the_loop_is_the_end_of_a_failed_run(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    with pytest.raises(ZeroDivisionError), telemetry:
        for loss in training.steps(3):
            telemetry.step(loss=loss)
            _ = 1 / 0
    assert telemetry.path is not None
    manifest = read_manifest(telemetry.path)
    assert manifest.status is Status.FAILED
    assert manifest.error is not None
    assert manifest.error["type"] == "ZeroDivisionError"
    assert len(records(telemetry.path, "steps")) == 1


SCRIPT = """
import sys, torch
from torch import nn
from telemetry import TelemetryCallback
from telemetry.capture.environment import open_callbacks
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
telemetry = TelemetryCallback(model, optimizer, store=sys.argv[1])
for step in range(5):
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    telemetry.step()
{end}
"""


@pytest.mark.parametrize(
    ("end", "status", "code"), [("", "finished", 0), ("raise ValueError('boom')", "failed", 1)]
)
def test_a_script_that_never_closes_is_closed_at_exit(
    end: str, status: str, code: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end=end), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "TELEMETRY_QUIET"},
    )
    assert done.returncode == code, done.stderr
    assert ("ValueError: boom" in done.stderr) == bool(end)
    (run,) = list_runs(tmp_path)
    assert done.stdout == ""
    how = "failed after " if end else ""
    assert f"telemetry: run {run.short}, {how}5 steps, 5 samples → telemetry" in done.stderr
    assert run.status == status
    assert run.steps == 5


def test_disabled_by_the_environment_nothing_is_hooked_or_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_DISABLED", "1")
    training = Training(mlp, vectors)
    backward = torch.autograd.backward
    with TelemetryCallback(
        training.model, training.optimizer, store=tmp_path / "none"
    ) as telemetry:
        for loss in training.steps(2):
            telemetry.step(loss=loss)
        telemetry.log(val_loss=1.0)
        with telemetry.evaluation():
            pass
    assert telemetry.run is None
    assert torch.autograd.backward is backward
    assert not training.model._forward_pre_hooks
    assert not (tmp_path / "none").exists()


def test_close_removes_every_hook_and_may_be_called_again(tmp_path: Path) -> None:
    training = Training(ConvNet, images)
    backward, clip = torch.autograd.backward, torch.nn.utils.clip_grad_norm_
    telemetry = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    for loss in training.steps(2):
        telemetry.step(loss=loss)
    telemetry.close()
    telemetry.close()
    telemetry.step(loss=1.0)
    assert torch.autograd.backward is backward
    assert torch.nn.utils.clip_grad_norm_ is clip
    assert not training.optimizer._optimizer_step_pre_hooks
    assert not training.optimizer._optimizer_step_post_hooks
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in training.model.modules())


def test_a_second_callback_on_a_model_closes_the_first_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = Training(mlp, vectors)
    first = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    with caplog.at_level(logging.WARNING):
        second = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    assert "its run was closed" in caplog.text
    assert first.path is not None
    assert read_manifest(first.path).status is Status.FINISHED
    with pytest.raises(UsageError, match="another TelemetryCallback"):
        TelemetryCallback(training.model, training.optimizer, store=tmp_path, strict=True)
    second.close()


def test_a_run_of_zero_steps_is_a_run(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    TelemetryCallback(training.model, training.optimizer, store=tmp_path).close()
    (run,) = list_runs(tmp_path)
    assert (run.status, run.steps) == (Status.FINISHED, 0)


def test_a_model_without_trainable_parameters_is_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Linear(2, 1).requires_grad_(requires_grad=False)
    other = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    with TelemetryCallback(model, optimizer, store=tmp_path) as telemetry:
        other(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        telemetry.step(loss=1.0)
    assert "no trainable parameters" in caplog.text
    assert "no parameter of the optimizer belongs to the model" in caplog.text


def test_a_failing_observer_is_switched_off_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from telemetry.capture.parameters.observer import ParameterObserver

    def broken(*_: object) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(ParameterObserver, "before_sampled_step", broken)
    training = Training(mlp, vectors)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for loss in training.steps(4):
            telemetry.step(loss=loss)
    assert telemetry.path is not None
    assert len(records(telemetry.path, "steps")) == 4
    errors = [r for r in records(telemetry.path, "events") if r["kind"] == "telemetry_error"]
    assert len(errors) == 1
    assert "injected" in str(errors[0]["message"])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"every": 0}, UsageError),
        ({"every": "often"}, TypeError),
        ({"overhead_budget": 3.0}, UsageError),
        ({"flight_recorder": -1}, UsageError),
        ({"flight_recorder": 10_001}, UsageError),
        ({"flight_recorder": True}, TypeError),
        ({"flight_recorder": "64"}, TypeError),
        ({"resume": True}, TypeError),
        ({"resume": ""}, UsageError),
        ({"resume": "20260102"}, RunNotFound),
        ({"on_finding": "halt"}, TypeError),
        ({"every": 2.5}, UsageError),
        ({"every": np.bool_(1)}, TypeError),
        ({"total_steps": "100"}, TypeError),
        ({"total_steps": True}, TypeError),
        ({"total_steps": 0}, UsageError),
        ({"total_steps": 1e4 + 0.5}, UsageError),
        ({"total_steps": float("inf")}, UsageError),
        ({"total_steps": float("nan")}, UsageError),
        ({"total_steps": 2**63}, UsageError),
        ({"total_steps": [100]}, TypeError),
        ({"overhead_budget": "1%"}, TypeError),
        ({"overhead_budget": float("nan")}, UsageError),
        ({"overhead_allowance_s": None}, TypeError),
        ({"overhead_allowance_s": -1.0}, UsageError),
        ({"histograms": "no"}, TypeError),
        ({"activations": 2}, TypeError),
        ({"strict": None}, TypeError),
        ({"tags": 5}, TypeError),
        ({"project": "p" * 10_000_000}, UsageError),
        ({"store": 5}, TypeError),
        ({"store": "s3://bucket/runs"}, UsageError),
        ({"store": Path("gs://bucket/runs")}, UsageError),
    ],
)
def test_unusable_arguments_are_refused_before_anything_is_written(
    arguments: dict[str, object],
    error: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = Training(mlp, vectors)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        TelemetryCallback(
            training.model,
            training.optimizer,
            **{"store": tmp_path / "none", **arguments},  # type: ignore[arg-type]
        )
    assert not list(tmp_path.iterdir())
    assert not open_callbacks.n_open()


@pytest.mark.parametrize(
    "n_steps", [10_000, 1e4, np.int64(10_000), np.float32(1e4), torch.tensor(10_000)]
)
def test_numbers_of_any_library_are_plain_numbers_of_the_manifest(
    n_steps: int, tmp_path: Path
) -> None:
    training = Training(mlp, vectors)
    with TelemetryCallback(
        training.model,
        training.optimizer,
        store=tmp_path,
        total_steps=n_steps,
        every=np.int64(2),  # type: ignore[arg-type]
        flight_recorder=np.int32(8),  # type: ignore[arg-type]
        name=Path("a/b"),  # type: ignore[arg-type]
        strict=True,
    ) as telemetry:
        pass
    assert telemetry.path is not None
    read = read_manifest(telemetry.path)
    assert (read.total_steps, type(read.total_steps), read.name) == (10_000, int, "a/b")


ODD_LOSSES: dict[str, object] = {
    "a text": "1.5",
    "a list": [torch.ones(())],
    "a dict": {"loss": 1.5},
    "complex": 1.5 + 2j,
    "nothing": torch.zeros(0),
    "an array": np.ones(3),
}


@pytest.mark.parametrize("name", ODD_LOSSES)
def test_a_loss_that_is_no_number_costs_no_step(name: str, tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    with TelemetryCallback(
        training.model, training.optimizer, store=tmp_path, strict=True
    ) as telemetry:
        for step, loss in enumerate(training.steps(4)):
            telemetry.step(loss=ODD_LOSSES[name] if step == 1 else loss)  # type: ignore[arg-type]
    assert telemetry.path is not None
    rows = records(telemetry.path, "steps")
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert None not in [row["loss"] for row in rows]  # else the root of the backward pass counts
    summary = read_manifest(telemetry.path).summary
    assert (summary["dropped_rows"], summary["refused_values"]) == (0, 1)


def test_an_array_of_one_number_is_a_loss(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    with TelemetryCallback(
        training.model, training.optimizer, store=tmp_path, strict=True
    ) as telemetry:
        for _ in training.steps(2):
            telemetry.step(loss=np.array([1.5]))  # type: ignore[arg-type]
    assert telemetry.path is not None
    assert [row["loss"] for row in records(telemetry.path, "steps")] == [1.5, 1.5]


def test_an_unusable_id_of_the_environment_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TELEMETRY_RUN_ID", "a b")
    training = Training(mlp, vectors)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        pass
    assert telemetry.run is not None
    assert [r.message for r in caplog.records if "TELEMETRY_RUN_ID is ignored" in r.message]
    with pytest.raises(UsageError, match="'a b' is not usable"):
        TelemetryCallback(training.model, training.optimizer, store=tmp_path, strict=True)


def test_model_and_optimizer_are_checked() -> None:
    model = mlp()
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        TelemetryCallback("model", torch.optim.SGD(model.parameters(), lr=0.1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="contains a Sequential, expected a torch"):
        TelemetryCallback(model, [model])  # type: ignore[list-item]


class Wrapper:
    """Steps an optimizer, and is none."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.param_groups = optimizer.param_groups

    def step(self) -> None:
        self.optimizer.step()


def test_a_wrapper_of_an_optimizer_is_refused_and_told_what_to_pass() -> None:
    model = mlp()
    wrapper = Wrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(TypeError, match=r"a Wrapper, .* `wrapper\.optimizer`.* pass None"):
        TelemetryCallback(model, wrapper)  # type: ignore[arg-type]


def test_a_metric_whose_name_no_table_holds_costs_no_other(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    with TelemetryCallback(
        training.model, training.optimizer, store=tmp_path, strict=True
    ) as telemetry:
        for loss in training.steps(2):
            telemetry.step(loss=loss, **{"caf\udce9": 1.0, "accuracy": 0.5})
    assert telemetry.path is not None
    names = [row["name"] for row in records(telemetry.path, "metrics")]
    assert sorted(map(str, names)) == ["accuracy", "accuracy", "caf?", "caf?"]
