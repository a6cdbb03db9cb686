"""A gradient, or an update, that is not finite is named before it is applied."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loops import vectors
from planted import BAD_STEP, N_STEPS, NAN, Planted, events, found
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback


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

    event = found(Planted(rooted, after=write), tmp_path)
    assert (event["what"], event["step"]) == ("update", BAD_STEP)
    assert "learning rate" in event["note"]


def test_what_a_loss_scaler_skips_is_no_event(tmp_path: Path) -> None:
    training = Planted(rooted)
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
