"""Remedies of a callback, and the process of a trial."""

import random
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD

from telemetry import TelemetryCallback
from telemetry.capture.remedy import NotApplicable
from telemetry.capture.treatment import seeds
from telemetry.errors import UsageError


def _losses(*, remedy: str | tuple[str, ...] = (), store: Path, rate: float = 0.8) -> list[float]:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = SGD(model.parameters(), lr=rate)
    found = []
    with TelemetryCallback(model, optimizer, store=store, remedy=remedy) as telemetry:
        for _ in range(5):
            loss = model(torch.randn(8, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            found.append(float(loss.detach()))
    assert optimizer.param_groups[0]["lr"] == rate
    return found


def test_a_loop_without_a_script_takes_remedies(tmp_path: Path) -> None:
    assert _losses(remedy="lr/8", store=tmp_path) == _losses(store=tmp_path, rate=0.1)
    assert _losses(remedy=("lr/4", "lr/2"), store=tmp_path) == _losses(store=tmp_path, rate=0.1)


@pytest.mark.parametrize(
    ("remedy", "error"), [("minimize", NotApplicable), ("pray", UsageError), ("lr", UsageError)]
)
def test_a_remedy_that_cannot_be_is_an_error(
    remedy: str, error: type[Exception], tmp_path: Path
) -> None:
    model = nn.Linear(4, 2)
    with pytest.raises(error):
        TelemetryCallback(model, SGD(model.parameters(), lr=0.1), store=tmp_path, remedy=remedy)
    assert not list(tmp_path.rglob("run.json"))
    with TelemetryCallback(model, SGD(model.parameters(), lr=0.1), store=tmp_path, strict=True):
        pass  # the model is free again


def test_every_seed_that_a_script_sets_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator
    for owner, names in (
        (random, ("seed",)),
        (np.random, ("seed", "default_rng")),
        (torch, ("manual_seed", "Generator")),
        (torch.random, ("manual_seed",)),
        (torch.cuda, ("manual_seed", "manual_seed_all")),
    ):
        for name in names:  # are put back after the test
            monkeypatch.setattr(owner, name, getattr(owner, name))
    torch.manual_seed(12)
    wanted = torch.rand(3), np.random.default_rng(12).random(), random.Random(12).random()  # noqa: S311
    seeds.shift_random(10)
    seeds.shift_numpy(10, cast("ModuleType", np.random))
    seeds.shift_torch(10, torch)
    torch.manual_seed(2)
    random.seed(2)
    assert torch.equal(torch.rand(3), wanted[0])
    assert np.random.default_rng(2).random() == wanted[1]
    assert np.random.default_rng(seed=2).random() == wanted[1]
    assert random.random() == wanted[2]  # noqa: S311
    own = torch.Generator()
    own.manual_seed(2)
    assert torch.equal(torch.rand(3, generator=own), wanted[0])
    assert isinstance(torch.default_generator, torch.Generator)
    assert isinstance(generator(), torch.Generator)


def test_seeds_are_shifted_once() -> None:
    module = SimpleNamespace(seed=lambda value: value, default_rng=lambda value: value)
    for _ in range(2):
        seeds.shift_numpy(10, cast("ModuleType", module))
    assert module.seed(1) == 11
    assert module.seed(None) is None


def test_of_several_optimizers_each_gets_the_remedy(tmp_path: Path) -> None:
    def weights(rate: float, *, remedy: str | tuple[()] = ()) -> list[torch.Tensor]:
        torch.manual_seed(0)
        parts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 2)])
        optimizers = [SGD(part.parameters(), lr=rate) for part in parts]
        with TelemetryCallback(parts, optimizers, store=tmp_path, remedy=remedy):
            for _ in range(3):
                loss = parts[1](parts[0](torch.randn(8, 4))).square().mean()
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
        return [parameter.detach().clone() for parameter in parts.parameters()]

    assert all(map(torch.equal, weights(0.8, remedy="lr/8"), weights(0.1)))
    with pytest.raises(NotApplicable, match="no optimizer has a parameter group 1"):
        weights(0.8, remedy="lr[1]/8")
