import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loops import Classifier, ConvNet, Training, images, mlp, records, tokens, vectors
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.errors import UsageError
from telemetry.manifest import Status, read_manifest
from telemetry.store.catalog import list_runs

ARCHITECTURES = {
    "mlp": (mlp, vectors),
    "convnet": (ConvNet, images),
    "transformer": (Classifier, tokens),
}


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def recorded(training: Training, store: Path, n_steps: int, **options: object) -> Path:
    """Train with a callback that is told the loss; returns the run folder."""
    with TelemetryCallback(
        training.model,
        training.optimizer,
        store=store,
        strict=True,
        **options,  # type: ignore[arg-type]
    ) as telemetry:
        for loss in training.steps(n_steps):
            telemetry.step(loss=loss)
        assert telemetry.path is not None
        return telemetry.path


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_is_bit_identical_with_and_without(name: str, every: int, tmp_path: Path) -> None:
    bare = Training(*ARCHITECTURES[name])
    losses = [loss.detach() for loss in bare.steps(12)]
    expected = bare.state()
    watched = Training(*ARCHITECTURES[name])
    with TelemetryCallback(
        watched.model, watched.optimizer, store=tmp_path, every=every, strict=True
    ) as telemetry:
        for step, loss in enumerate(watched.steps(12)):
            assert torch.equal(loss.detach(), losses[step])
            telemetry.step(loss=loss, seen=float(step))
    found = watched.state()
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_each_step_has_its_loss_rate_and_batch(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    expected = []
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for loss in training.steps(5):
            expected.append(float(loss.detach()))
            telemetry.step(loss=loss)
        assert telemetry.path is not None
    steps = records(telemetry.path, "steps")
    assert [row["step"] for row in steps] == [0, 1, 2, 3, 4]
    assert [row["loss"] for row in steps] == pytest.approx(expected)
    assert {row["lr"] for row in steps} == {1e-2}
    assert {row["samples"] for row in steps} == {32}
    assert len({row["batch_hash"] for row in steps}) == 5
    assert {row["backward_calls"] for row in steps} == {1}


def test_without_step_calls_the_backward_root_is_the_loss(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    losses = [float(loss.detach()) for loss in training.steps(4)]
    telemetry.close()
    assert telemetry.path is not None
    steps = records(telemetry.path, "steps")
    assert [row["loss"] for row in steps] == pytest.approx(losses)
    assert all(not int(str(row["flags"])) & 1 for row in steps)


def test_gradients_weights_and_updates_are_recorded_as_they_were(tmp_path: Path) -> None:
    training = Training(mlp, vectors, optimizer_class=torch.optim.SGD, lr=0.5)
    weight = training.model[0].weight  # type: ignore[index]
    before = weight.detach().clone()
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for loss in training.steps(1):
            gradient = weight.grad.clone()
            telemetry.step(loss=loss)
    assert telemetry.path is not None
    names = {
        row["tensor_id"]: (row["name"], row["kind"]) for row in records(telemetry.path, "tensors")
    }
    norms = {
        names[row["tensor_id"]]: float(str(row["sumsq"])) ** 0.5
        for row in records(telemetry.path, "tensor_stats")
        if row["sumsq"] is not None
    }
    assert norms["0.weight", "gradient"] == pytest.approx(float(gradient.norm()), rel=1e-5)
    assert norms["0.weight", "weight"] == pytest.approx(float(before.norm()), rel=1e-5)
    assert norms["0.weight", "update"] == pytest.approx(0.5 * float(gradient.norm()), rel=1e-4)


def test_clipping_is_observed_with_the_norm_before_it(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        inputs, labels = vectors(torch.Generator().manual_seed(1))
        (functional.cross_entropy(training.model(inputs), labels) * 100).backward()
        total = torch.nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
        training.optimizer.step()
        telemetry.step()
    assert telemetry.path is not None
    (row,) = records(telemetry.path, "steps")
    assert row["grad_norm_total"] == pytest.approx(float(total))
    assert row["clip_coefficient"] == pytest.approx(1 / float(total), rel=1e-4)
    gradients = [r for r in records(telemetry.path, "tensor_stats") if r["kind"] == "gradient"]
    assert {r["provenance"] for r in gradients} == {"clipped"}
    assert gradients[0]["scale"] == pytest.approx(1 / float(total), rel=1e-4)


def test_accumulated_micro_batches_are_one_step(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    generator = torch.Generator().manual_seed(1)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for micro_step in range(8):
            inputs, labels = vectors(generator)
            loss = functional.cross_entropy(training.model(inputs), labels) / 4
            loss.backward()
            if micro_step % 4 == 3:
                training.optimizer.step()
                training.optimizer.zero_grad()
                telemetry.step(loss=loss * 4)
    assert telemetry.path is not None
    steps = records(telemetry.path, "steps")
    assert [(r["accumulation"], r["backward_calls"], r["samples"]) for r in steps] == [
        (4, 4, 128),
        (4, 4, 128),
    ]


def test_two_optimizers_share_steps(tmp_path: Path) -> None:
    generator, critic = nn.Linear(2, 3), nn.Linear(3, 1)
    model = nn.ModuleDict({"generator": generator, "critic": critic})
    optimizers = [torch.optim.Adam(m.parameters(), lr=1e-3) for m in (critic, generator)]
    with TelemetryCallback(model, optimizers, store=tmp_path, tags=["gan"]) as telemetry:
        for _ in range(3):
            for optimizer in optimizers:
                optimizer.zero_grad()
                critic(generator(torch.ones(4, 2))).mean().backward()
                optimizer.step()
    assert telemetry.path is not None
    assert [row["step"] for row in records(telemetry.path, "steps")] == [0, 1, 2]
    per_step = {
        step: {
            row["param_id"]
            for row in records(telemetry.path, "tensor_stats")
            if row["step"] == step and row["kind"] == "update"
        }
        for step in range(3)
    }
    assert [len(ids) for ids in per_step.values()] == [4, 4, 4]


def test_an_evaluation_is_told_from_training(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for loss in training.steps(3):
            telemetry.step(loss=loss)
        with torch.no_grad():
            training.model.eval()(torch.zeros(2, 8))
        telemetry.log(accuracy=0.5)
        telemetry.log(accuracy=0.7, val_loss=1.0)
    assert telemetry.path is not None
    found = [(r["step"], r["phase"], r["name"]) for r in records(telemetry.path, "metrics")]
    assert sorted(found) == [
        (2, "eval", "accuracy"),
        (2, "eval", "val_loss"),
        (2, "train", "accuracy"),
    ]


def test_further_learning_rates_are_metrics_when_they_change(tmp_path: Path) -> None:
    model = mlp()
    groups = [{"params": model[0].parameters()}, {"params": model[3].parameters(), "lr": 0.5}]  # type: ignore[index]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    with TelemetryCallback(model, optimizer, store=tmp_path) as telemetry:
        for step in range(3):
            model(torch.ones(2, 8)).sum().backward()
            optimizer.step()
            telemetry.step()
            if step == 1:
                optimizer.param_groups[1]["lr"] = 0.25
    assert telemetry.path is not None
    rates = [(r["step"], r["value"]) for r in records(telemetry.path, "metrics")]
    assert rates == [(0, 0.5), (2, 0.25)]


def test_dead_units_are_recorded_for_modules_and_functions(tmp_path: Path) -> None:
    training = Training(ConvNet, images)
    with torch.no_grad():
        training.model.norm.bias.fill_(-100.0)  # type: ignore[operator, union-attr]
    path = recorded(training, tmp_path, 10, every=1, overhead_budget=None)
    sites = {row["site"] for row in records(path, "module_stats")}
    assert "relu#0" in sites
    dead = [row["n_dead"] for row in records(path, "module_stats") if row["site"] == "relu#0"]
    assert dead[-1] == 6


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
    )
    assert done.returncode == code, done.stderr
    assert ("ValueError: boom" in done.stderr) == bool(end)
    (run,) = list_runs(tmp_path)
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
    assert "its run is closed" in caplog.text
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


def test_a_loss_that_is_nan_from_the_first_step_is_recorded(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    with torch.no_grad():
        training.model[0].weight.fill_(float("nan"))  # type: ignore[index]
    path = recorded(training, tmp_path, 3)
    losses = [float(str(row["loss"])) for row in records(path, "steps")]
    assert all(loss != loss for loss in losses)  # noqa: PLR0124 - NaN differs from itself


def test_a_failing_observer_is_switched_off_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from telemetry.capture.observe_optimizer import ParameterObserver

    def broken(*_: object) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(ParameterObserver, "before", broken)
    training = Training(mlp, vectors)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for loss in training.steps(4):
            telemetry.step(loss=loss)
    assert telemetry.path is not None
    assert len(records(telemetry.path, "steps")) == 4
    errors = [r for r in records(telemetry.path, "events") if r["kind"] == "telemetry_error"]
    assert len(errors) == 1
    assert "injected" in str(errors[0]["message"])


def test_what_is_not_a_number_is_refused_once_and_the_rest_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = Training(mlp, vectors)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for _ in range(2):
            telemetry.log(note="text", val_loss=1.0)  # type: ignore[arg-type]
    assert telemetry.path is not None
    assert [r["name"] for r in records(telemetry.path, "metrics")] == ["val_loss"] * 2
    assert caplog.text.count("not a number") == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"every": 0}, UsageError),
        ({"every": "often"}, TypeError),
        ({"overhead_budget": 3.0}, UsageError),
        ({"resume": "auto"}, TypeError),
        ({"on_finding": "warn"}, TypeError),
    ],
)
def test_unusable_arguments_are_refused_before_anything_is_written(
    arguments: dict[str, object], error: type[Exception], tmp_path: Path
) -> None:
    training = Training(mlp, vectors)
    with pytest.raises(error):
        TelemetryCallback(
            training.model,
            training.optimizer,
            store=tmp_path / "none",
            **arguments,  # type: ignore[arg-type]
        )
    assert not (tmp_path / "none").exists()


def test_model_and_optimizer_are_checked() -> None:
    model = mlp()
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        TelemetryCallback("model", torch.optim.SGD(model.parameters(), lr=0.1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a torch optimizer"):
        TelemetryCallback(model, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected torch optimizers"):
        TelemetryCallback(model, [model])  # type: ignore[list-item]
