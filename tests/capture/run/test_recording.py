from pathlib import Path

import pytest
import torch
from loops import ConvNet, Training, images, mlp, recorded, records, vectors
from no_reading import NoReading
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


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
    with TelemetryCallback(
        model, optimizers, store=tmp_path, tags=["gan"], overhead_budget=None
    ) as telemetry:
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


def test_a_loss_that_is_nan_from_the_first_step_is_recorded(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    with torch.no_grad():
        training.model[0].weight.fill_(float("nan"))  # type: ignore[index]
    path = recorded(training, tmp_path, 3)
    losses = [float(str(row["loss"])) for row in records(path, "steps")]
    assert all(loss != loss for loss in losses)  # noqa: PLR0124 - NaN differs from itself


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


def test_a_metric_is_what_it_was_when_it_was_logged(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    total, each = torch.zeros(()), torch.zeros(2)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for _ in training.steps(3):
            total += 1.0
            each += 2.0
            telemetry.log(total=total, each=each)
    assert telemetry.path is not None
    rows = records(telemetry.path, "metrics")
    assert [row["value"] for row in rows if row["name"] == "total"] == [1.0, 2.0, 3.0]
    assert [row["value"] for row in rows if row["name"] == "each"] == [2.0, 4.0, 6.0]


def test_a_loss_that_the_loop_goes_on_with_is_what_it_was(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    total = torch.zeros(1)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for _ in training.steps(3):
            total += 1.0
            telemetry.step(loss=total)
    assert telemetry.path is not None
    assert [row["loss"] for row in records(telemetry.path, "steps")] == [1.0, 2.0, 3.0]


def test_values_logged_without_a_step_do_not_pile_up(tmp_path: Path) -> None:
    training = Training(mlp, vectors)
    telemetry = TelemetryCallback(training.model, training.optimizer, store=tmp_path)
    recording = telemetry._recording
    assert recording is not None
    recording._scalars._due_s = 0.0  # as if the last packet had left long ago
    telemetry.log(val_loss=1.0)
    assert recording._scalars._metrics == []
    telemetry.close()
    assert telemetry.path is not None
    assert [row["value"] for row in records(telemetry.path, "metrics")] == [1.0]


def test_the_training_thread_reads_no_value_off_a_tensor(tmp_path: Path) -> None:
    training = Training(ConvNet, images, optimizer_class=torch.optim.SGD)
    with TelemetryCallback(
        training.model,
        training.optimizer,
        store=tmp_path,
        every=1,
        overhead_budget=None,
        strict=True,
    ) as telemetry:
        with NoReading():
            for loss in training.steps(3):
                torch.nn.utils.clip_grad_norm_(training.model.parameters(), 1.0)
                telemetry.step(loss=loss, doubled=loss.detach() * 2)
            telemetry.log(val_loss=loss.detach())
        assert telemetry.path is not None
    assert len(records(telemetry.path, "tensor_stats")) > 0
    assert len(records(telemetry.path, "module_stats")) > 0
