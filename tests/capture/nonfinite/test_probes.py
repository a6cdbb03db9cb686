"""The look at a few gradients before they are applied, and where they cannot be looked at."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.nonfinite.probes import GradientProbes


def probes_of(gradient: Tensor) -> tuple[GradientProbes, torch.optim.Optimizer]:
    """Probes that look at one parameter, which has this gradient."""
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    probes = GradientProbes(Catalogue(model, [optimizer]))
    probes._probes[optimizer] = (SimpleNamespace(grad=gradient),)  # type: ignore[assignment]
    return probes, optimizer


@pytest.mark.parametrize(
    ("values", "finite"),
    [([1.0, 2.0], True), ([1.0, float("nan")], False), ([1e30, 1e30], True)],
)
def test_a_gradient_on_the_host_is_looked_at(values: list[float], *, finite: bool) -> None:
    probes, optimizer = probes_of(torch.tensor(values))
    assert probes.are_finite(optimizer) is finite


def test_a_gradient_that_went_to_another_device_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probes, optimizer = probes_of(torch.empty(3, device="meta"))

    def waits(*_: object) -> None:
        raise AssertionError("the training thread would wait for the device")

    for name in ("tolist", "item", "cpu", "numpy"):
        monkeypatch.setattr(Tensor, name, waits)
    assert probes.are_finite(optimizer)
