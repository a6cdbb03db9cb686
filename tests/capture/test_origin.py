"""The first value that is not finite is named, in an ordinary training loop."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from loops import Classifier, ConvNet, Training, images, mlp, records, tokens, vectors
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.capture import observe_origin
from telemetry.capture.gradient_probes import GradientProbes
from telemetry.capture.writer import RunWriter

N_STEPS = 6
BAD_STEP = 3
NAN = float("nan")


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


class Planted:
    """A training in which something is done before the forward, or after the backward, of a step.

    Args:
        build: Makes the model.
        before: Told model, optimizer and inputs in `BAD_STEP`, before the forward.
        after: Told model and optimizer in `BAD_STEP`, before the optimizer steps.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module] = logits,
        *,
        before: Callable[..., object] = lambda *_: None,
        after: Callable[..., object] = lambda *_: None,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        batch: Callable[[torch.Generator], tuple[Tensor, Tensor]] = vectors,
        **settings: Any,  # noqa: ANN401 - of the optimizer
    ) -> None:
        torch.manual_seed(0)
        self.model = build()
        self.optimizer = optimizer(self.model.parameters(), **({"lr": 1e-2} | settings))
        self._before, self._after, self._batch = before, after, batch

    def steps(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(1)
        for step in range(N_STEPS):
            inputs, labels = self._batch(generator)
            if step == BAD_STEP:
                self._before(self.model, self.optimizer, inputs)
            loss = functional.cross_entropy(self.model(inputs), labels)
            self.optimizer.zero_grad()
            loss.backward()
            if step == BAD_STEP:
                self._after(self.model, self.optimizer)
            self.optimizer.step()
            yield loss


def events(run: Path, kind: str = "non_finite") -> list[dict[str, Any]]:
    found = [row for row in records(run, "events") if row["kind"] == kind]
    return [{**row, **json.loads(str(row["payload"]))} for row in found]


def found(training: Planted, store: Path, every: int = 100) -> dict[str, Any]:
    """The event of the run; there must be one."""
    with TelemetryCallback(
        training.model, training.optimizer, store=store, every=every, strict=True
    ) as telemetry:
        for loss in training.steps():
            telemetry.step(loss=loss)
    assert telemetry.path is not None
    (event,) = events(telemetry.path)
    return event


def cut(model: nn.Module, *_: object) -> None:
    model[3].cuts = True  # type: ignore[index]


def spoil_input(_model: nn.Module, _optimizer: object, inputs: Tensor) -> None:
    inputs[3, 2] = NAN


@pytest.mark.parametrize("every", [1, 100])
def test_the_operation_of_a_module_is_named(tmp_path: Path, every: int) -> None:
    event = found(Planted(before=cut), tmp_path, every)
    assert (event["what"], event["module"], event["operation"]) == ("output", "3", "log")
    assert (event["step"], event["how"], event["severity"]) == (BAD_STEP, "observed", "error")
    assert event["n_nan"] == 0
    assert event["n_inf"] > 0


def test_a_bad_input_is_no_fault_of_the_model(tmp_path: Path) -> None:
    event = found(Planted(before=spoil_input), tmp_path)
    assert (event["what"], event["step"], event["n_nan"]) == ("input", BAD_STEP, 1)


def test_a_division_after_a_healthy_mask_is_named_and_not_the_mask(tmp_path: Path) -> None:
    def divide(model: nn.Module, *_: object) -> None:
        model.divides = True  # type: ignore[assignment]

    event = found(Planted(Masked, before=divide), tmp_path)
    assert (event["what"], event["module"], event["operation"]) == ("output", "", "div")


def test_a_weight_that_something_else_wrote_is_named(tmp_path: Path) -> None:
    def write(model: nn.Module, *_: object) -> None:
        model[2].weight.data[1, 2] = NAN  # type: ignore[index, operator, union-attr]

    event = found(Planted(before=write), tmp_path)
    assert (event["what"], event["parameter"]) == ("weight", "2.weight")
    assert (event["step"], event["how"], event["n_nan"]) == (BAD_STEP, "traced_back", 1)


def test_optimizer_state_is_told_from_a_gradient(tmp_path: Path) -> None:
    def write(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.state[model[2].weight]["exp_avg"][0, 0] = NAN  # type: ignore[index]

    event = found(Planted(after=write), tmp_path)
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


# --- gradients ----------------------------------------------------------------------------------


class Rooted(nn.Module):
    """Adds what is zero; its derivative is not finite when `spoils` is set."""

    spoils = False

    def forward(self, values: Tensor) -> Tensor:
        return values + torch.sqrt(0 * values) if self.spoils else values


def rooted() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), Rooted(), nn.Linear(16, 4))


def spoil_root(model: nn.Module, *_: object) -> None:
    model[2].spoils = True  # type: ignore[index]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_the_derivative_of_a_module_is_named(
    tmp_path: Path, optimizer: Callable[..., torch.optim.Optimizer]
) -> None:
    event = found(Planted(rooted, before=spoil_root, optimizer=optimizer), tmp_path)
    assert (event["what"], event["module"]) == ("gradient", "2")
    assert (event["operation"], event["step"]) == ("SqrtBackward0", BAD_STEP)


def test_a_clipped_gradient_is_followed_to_its_origin(tmp_path: Path) -> None:
    def clip(model: nn.Module, _optimizer: object) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    event = found(Planted(rooted, before=spoil_root, after=clip), tmp_path)
    assert (event["what"], event["module"]) == ("gradient", "2")


def test_a_gradient_of_one_parameter_is_not_blamed_on_its_module(tmp_path: Path) -> None:
    def write(model: nn.Module, _optimizer: object) -> None:
        model[0].bias.grad[1] = math.inf  # type: ignore[index, operator, union-attr]

    event = found(Planted(rooted, after=write), tmp_path)
    assert (event["what"], event["parameter"]) == ("gradient", "0.bias")
    assert (event["how"], event["step"]) == ("traced_back", BAD_STEP)


def test_a_derivative_of_the_loss_alone_leaves_the_loss(tmp_path: Path) -> None:
    class RootOfLoss(Planted):
        def steps(self) -> Iterator[Tensor]:
            inputs, labels = vectors(torch.Generator().manual_seed(1))
            for step in range(N_STEPS):
                logits = self.model(inputs)
                loss = functional.cross_entropy(logits, labels)
                if step == BAD_STEP:
                    loss = loss + torch.sqrt(0 * logits.sum())
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                yield loss

    event = found(RootOfLoss(rooted), tmp_path)
    assert (event["what"], event["step"]) == ("loss", BAD_STEP)


def test_a_broken_learning_rate_is_no_fault_of_the_gradient(tmp_path: Path) -> None:
    def write(_model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.param_groups[0]["lr"] = NAN

    event = found(Planted(after=write), tmp_path)
    assert (event["what"], event["step"]) == ("update", BAD_STEP)
    assert "learning rate" in event["note"]


def test_what_a_loss_scaler_skips_is_no_event(tmp_path: Path) -> None:
    training = Planted()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    with TelemetryCallback(
        training.model, training.optimizer, store=tmp_path, strict=True
    ) as telemetry:
        for _ in range(N_STEPS):
            inputs, labels = vectors(torch.Generator().manual_seed(1))
            loss = 10 * functional.cross_entropy(training.model(inputs), labels)
            training.optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(training.optimizer)
            scaler.update()
            telemetry.step(loss=loss)
    assert scaler.get_scale() < 2.0**127
    assert telemetry.path is not None
    assert not events(telemetry.path)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch.compile itself
def test_a_compiled_forward_is_said_to_be_hidden(tmp_path: Path) -> None:
    training = Planted(before=cut)
    training.model.compile(backend="eager")
    event = found(training, tmp_path)
    assert (event["how"], event["step"]) == ("not_observed", BAD_STEP)
    assert "compiled" in event["note"]


def test_a_loss_on_another_device_is_noticed_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a device that runs behind the host does: nothing can be read, the writer tells.
    monkeypatch.setattr(observe_origin, "host_number", lambda _value: None)
    monkeypatch.setattr(GradientProbes, "are_finite", lambda *_: True)
    monkeypatch.setattr(RunWriter, "first_bad_loss", property(lambda _: BAD_STEP))
    event = found(Planted(before=spoil_input, optimizer=torch.optim.SGD), tmp_path)
    assert (event["what"], event["step"]) == ("loss", BAD_STEP)
    assert "later" in event["note"]


def test_hooks_of_the_loop_run_once_while_a_gradient_is_followed(tmp_path: Path) -> None:
    counts: list[list[int]] = []
    for store in (None, tmp_path):
        training = Planted(rooted, before=spoil_root)
        calls = [0]

        def count(gradient: Tensor, calls: list[int] = calls) -> Tensor:
            calls[0] += 1
            return gradient

        for parameter in training.model.parameters():
            parameter.register_hook(count)
        if store is None:
            for _ in training.steps():
                pass
        else:
            found(training, store)
        counts.append(calls)
    assert counts[0] == counts[1]


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
