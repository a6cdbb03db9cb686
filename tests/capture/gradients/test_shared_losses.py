"""Models with a callback each whose losses depend on one another are told apart from joint ones."""

from pathlib import Path

import pytest
import torch
from loops import records
from provenance import opened, scalar, x
from torch import nn

from telemetry import TelemetryCallback

N_STEPS = 5


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def shared(telemetry: TelemetryCallback) -> list[object]:
    """Messages of the events that tell of a shared loss."""
    assert telemetry.path is not None
    events = records(telemetry.path, "events")
    return [row["message"] for row in events if row["kind"] == "shared_loss"]


def two(tmp_path: Path) -> tuple[list[nn.Linear], list[torch.optim.SGD], list[TelemetryCallback]]:
    models = [scalar(2.0), scalar(3.0)]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.01) for model in models]
    runs = [
        opened(model, optimizer, tmp_path / str(index))
        for index, (model, optimizer) in enumerate(zip(models, optimizers, strict=True))
    ]
    return models, optimizers, runs


def test_a_generator_and_its_critic_share_a_loss_and_have_one_of_their_own(tmp_path: Path) -> None:
    (generator, critic), (of_generator, of_critic), runs = two(tmp_path)
    for _ in range(N_STEPS):
        fake = generator(x(1.0))
        of_critic.zero_grad()
        (critic(fake.detach()) - critic(x(5.0))).sum().backward()
        of_critic.step()
        of_generator.zero_grad()
        (-critic(fake)).sum().backward()
        of_generator.step()
    for run in runs:
        run.close()
    messages = [shared(run) for run in runs]
    assert [len(of_run) for of_run in messages] == [1, 1]
    assert "reaches the parameters of Linear" in str(messages[0][0])


def test_two_parts_of_one_loss_are_no_adversaries(tmp_path: Path) -> None:
    (encoder, decoder), optimizers, runs = two(tmp_path)
    for _ in range(N_STEPS):
        loss = (decoder(encoder(x(1.0))) - 1).square().sum()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    for run in runs:
        run.close()
    assert [shared(run) for run in runs] == [[], []]


def test_models_that_are_trained_side_by_side_share_nothing(tmp_path: Path) -> None:
    models, optimizers, runs = two(tmp_path)
    for _ in range(N_STEPS):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            (model(x(1.0)) - 1).square().sum().backward()
            optimizer.step()
    for run in runs:
        run.close()
    assert [shared(run) for run in runs] == [[], []]
