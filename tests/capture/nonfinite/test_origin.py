"""The first value that is not finite is named, in an ordinary training loop."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loops import Classifier, ConvNet, Training, images, mlp, tokens, vectors
from planted import BAD_STEP, N_STEPS, NAN, Planted, events, found
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.capture.nonfinite import observer
from telemetry.capture.nonfinite.probes import GradientProbes
from telemetry.capture.writer.writer import RunWriter


class LogOfShare(nn.Module):
    """log of a softmax, of which small shares are cut off when `cuts` is set."""

    cuts = False

    def forward(self, values: Tensor) -> Tensor:
        shares = torch.softmax(values, dim=-1)
        if self.cuts:
            shares = shares * (shares > 0.3)
        return torch.log(shares)


class Masked(nn.Module):
    """An attention whose scores are masked by minus infinity, before a head that may divide."""

    divides = False

    def __init__(self) -> None:
        super().__init__()
        self.scores = Scores()
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, values: Tensor) -> Tensor:
        weights = torch.softmax(self.scores(values), dim=-1)
        hidden = self.mix(weights @ values)
        if self.divides:
            hidden = hidden / torch.zeros(())
        return self.head(hidden)


class Scores(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        later = torch.ones(len(values), len(values)).triu(1).bool()
        return (values @ values.T).masked_fill(later, -math.inf)


def logits() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), LogOfShare())


def cut(model: nn.Module, *_: object) -> None:
    model[3].cuts = True  # type: ignore[index]


def spoil_input(_model: nn.Module, _optimizer: object, inputs: Tensor) -> None:
    inputs[3, 2] = NAN


@pytest.mark.parametrize("every", [1, 100])
def test_the_operation_of_a_module_is_named(tmp_path: Path, every: int) -> None:
    event = found(Planted(logits, before=cut), tmp_path, every)
    assert (event["what"], event["module"], event["operation"]) == ("output", "3", "log")
    assert (event["step"], event["how"], event["severity"]) == (BAD_STEP, "observed", "error")
    assert event["n_nan"] == 0
    assert event["n_inf"] > 0


def test_a_bad_input_is_no_fault_of_the_model(tmp_path: Path) -> None:
    event = found(Planted(logits, before=spoil_input), tmp_path)
    assert (event["what"], event["step"], event["n_nan"]) == ("input", BAD_STEP, 1)


def test_a_division_after_a_healthy_mask_is_named_and_not_the_mask(tmp_path: Path) -> None:
    def divide(model: nn.Module, *_: object) -> None:
        model.divides = True  # type: ignore[assignment]

    event = found(Planted(Masked, before=divide), tmp_path)
    assert (event["what"], event["module"], event["operation"]) == ("output", "", "div")


def test_a_weight_that_something_else_wrote_is_named(tmp_path: Path) -> None:
    def write(model: nn.Module, *_: object) -> None:
        model[2].weight.data[1, 2] = NAN  # type: ignore[index, operator, union-attr]

    event = found(Planted(logits, before=write), tmp_path)
    assert (event["what"], event["parameter"]) == ("weight", "2.weight")
    assert (event["step"], event["how"], event["n_nan"]) == (BAD_STEP, "traced_back", 1)


def test_optimizer_state_is_told_from_a_gradient(tmp_path: Path) -> None:
    def write(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.state[model[2].weight]["exp_avg"][0, 0] = NAN  # type: ignore[index]

    event = found(Planted(logits, after=write), tmp_path)
    assert (event["what"], event["parameter"]) == ("optimizer_state", "2.weight")
    assert (event["step"], event["found_step"]) == (BAD_STEP, BAD_STEP + 1)


def test_a_healthy_run_has_no_event(tmp_path: Path) -> None:
    training = Planted(Masked)
    with TelemetryCallback(training.model, training.optimizer, store=tmp_path) as telemetry:
        for loss in training.steps():
            telemetry.step(loss=loss)
        telemetry.log(val_loss=NAN)
    assert telemetry.path is not None
    assert not events(telemetry.path)
    assert not events(telemetry.path, "telemetry_error")


class Forgetful(nn.Module):
    """Spoils its fourth forward, and no other."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.n_forwards = 0

    def forward(self, values: Tensor) -> Tensor:
        self.n_forwards += 1
        logits = self.layer(values)
        return logits * NAN if self.n_forwards == BAD_STEP + 1 else logits


def test_a_forward_that_is_finite_when_run_again_is_not_taken_for_an_origin(tmp_path: Path) -> None:
    event = found(Planted(Forgetful), tmp_path)
    assert (event["what"], event["how"]) == ("output", "not_reproduced")


def test_a_loop_that_calls_parts_of_a_container_has_the_part_named(tmp_path: Path) -> None:
    class Parts(Planted):
        def steps(self) -> Iterator[Tensor]:
            first, second = self.model["first"], self.model["second"]  # type: ignore[index]
            for step in range(N_STEPS):
                inputs, labels = vectors(torch.Generator().manual_seed(step))
                hidden = first(inputs)
                if step == BAD_STEP:
                    hidden = torch.log(hidden - 1e9)
                loss = functional.cross_entropy(second(hidden), labels)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                yield loss

    def parts() -> nn.Module:
        return nn.ModuleDict({"first": nn.Linear(8, 8), "second": nn.Linear(8, 4)})

    event = found(Parts(parts), tmp_path)
    assert (event["what"], event["module"], event["step"]) == ("input", "second", BAD_STEP)


def test_a_loss_on_another_device_is_noticed_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a device that runs behind the host does: nothing can be read, the writer tells.
    monkeypatch.setattr(observer, "host_number", lambda _value: None)
    monkeypatch.setattr(GradientProbes, "are_finite", lambda *_: True)
    monkeypatch.setattr(RunWriter, "first_bad_loss", property(lambda _: BAD_STEP))
    event = found(Planted(logits, before=spoil_input, optimizer=torch.optim.SGD), tmp_path)
    assert (event["what"], event["step"]) == ("loss", BAD_STEP)
    assert "later" in event["note"]


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch.compile itself
def test_a_compiled_forward_is_said_to_be_hidden(tmp_path: Path) -> None:
    training = Planted(logits, before=cut)
    training.model.compile(backend="eager")
    event = found(training, tmp_path)
    assert (event["how"], event["step"]) == ("not_observed", BAD_STEP)
    assert "compiled" in event["note"]


class SpoiledTraining(Training):
    """A training whose loss, or its derivative, is not finite in the fourth step."""

    spoils_derivative = False

    def spoiled(self, loss: Tensor) -> Tensor:
        if self.spoils_derivative:
            return loss + torch.sqrt(0 * loss)
        return loss * torch.log(torch.zeros(()))

    def steps(self, n_steps: int) -> Iterator[Tensor]:
        for step in range(n_steps):
            inputs, labels = self.batch(self._generator)
            logits = self.model(inputs)
            loss = functional.cross_entropy(logits, labels)
            if step == BAD_STEP:
                loss = self.spoiled(loss)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield loss


@pytest.mark.parametrize(
    ("build", "batch"), [(mlp, vectors), (ConvNet, images), (Classifier, tokens)]
)
@pytest.mark.parametrize("spoils_derivative", [True, False])
def test_training_is_bit_identical_while_an_origin_is_searched(
    build: Callable[[], nn.Module],
    batch: Callable[[torch.Generator], tuple[Tensor, Tensor]],
    tmp_path: Path,
    *,
    spoils_derivative: bool,
) -> None:
    plain = SpoiledTraining(build, batch)
    plain.spoils_derivative = spoils_derivative
    for _ in plain.steps(N_STEPS):
        pass
    expected = [*plain.state(), *(p.grad for p in plain.model.parameters())]
    watched = SpoiledTraining(build, batch)
    watched.spoils_derivative = spoils_derivative
    with TelemetryCallback(
        watched.model, watched.optimizer, store=tmp_path, strict=True
    ) as telemetry:
        for loss in watched.steps(N_STEPS):
            telemetry.step(loss=loss)
    assert telemetry.path is not None
    assert [event["what"] for event in events(telemetry.path)] == ["loss"]
    seen = [*watched.state(), *(p.grad for p in watched.model.parameters())]
    assert all(torch.equal(a, b) or _same(a, b) for a, b in zip(expected, seen, strict=True))


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    """Bit by bit, NaNs being equal."""
    if first is None or second is None:
        return first is second
    return torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)
